"""Pictures that a campaign learns from and, under another name, holds out: what is measured on them says nothing.

An ingest refuses near copies in another split of its data set (`tasks.ingest.image.leakage`). Between data sets, and
between those who are set aside for a judge and the others, nothing can be refused: so it is said.
"""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from infra.stages import find
from infra.standing import newest_ingest, read_standing
from infra.store import Store
from schemas.config.engine import EngineConfig
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from tasks.rows.instances import of_target
from tasks.rows.part import Part

_SHOWN = 3


def copies_in_words(
    store: Store, config: EngineConfig, ingests: Mapping[Target, StageKey], own: Target | None = None
) -> tuple[str, ...]:
    """A sentence for every two splits that share pictures, of which one is learned from and the other held out.

    `ingests` are those of the campaign's splits, `own` one that is learned from in the place of `sources.wild`. What is
    still to be ingested is left out. Pictures are alike whose perceptual hashes are equal.
    """
    sources = config.sources
    wild = sources.targets("wild") if own is None else [own]
    learned = list(dict.fromkeys((*sources.targets("labelled"), *wild)))
    held_out = list(dict.fromkeys(sources.held_out))
    found = {target: _hashes(store, target, ingests) for target in (*learned, *held_out)}
    said = []
    for one in learned:
        for other in held_out:
            if shared := _in_common(found[one], found[other]):
                said.append(_sentence(f"of {one}", f"in {other}", shared))
    if config.is_judged:
        aside, rest = (Part(0.0, config.gates.judged_share), Part(config.gates.judged_share, 1.0))
        everything = pa.concat_tables(found[target] for target in wild)
        if shared := _in_common(_part(everything, rest), _part(everything, aside)):
            said.append(_sentence("in the wild", "among those that are set aside for the judge", shared))
    return tuple(said)


def _hashes(store: Store, target: Target, ingests: Mapping[Target, StageKey]) -> pa.Table:
    """Pictures of a split that have a hash: image_id, perceptual_hash."""
    nothing = pa.schema([("image_id", pa.string()), ("perceptual_hash", pa.string())]).empty_table()
    try:
        key = ingests[target] if target in ingests else newest_ingest(store, target)
    except DataError:
        return nothing
    if find(store, key) is None:
        return nothing
    images = read_standing(store, "images", [key], where=of_target(target), columns=nothing.schema.names)
    return images.filter(pc.is_valid(images.column("perceptual_hash"))).cast(nothing.schema)


def _part(images: pa.Table, part: Part) -> pa.Table:
    names = images.column("image_id").to_pylist()
    inside = set(part.of(f"{name}#0" for name in names))
    return images.filter(pa.array([f"{name}#0" in inside for name in names], pa.bool_()))


def _in_common(learned: pa.Table, held_out: pa.Table) -> Sequence[str]:
    """Names of those who are learned from and have the hash of one that is held out, sorted."""
    alike = pc.is_in(learned.column("perceptual_hash"), value_set=held_out.column("perceptual_hash").combine_chunks())
    return sorted(learned.filter(alike).column("image_id").to_pylist())


def _sentence(of_learned: str, where: str, names: Sequence[str]) -> str:
    pictures = "1 picture" if len(names) == 1 else f"{len(names)} pictures"
    return (
        f"Learned from and held out: {pictures} {of_learned}, also {where} ({', '.join(_listed(names))}). What is "
        "measured on them says nothing of others."
    )


def _listed(names: Sequence[str]) -> Iterator[str]:
    yield from names[:_SHOWN]
    if len(names) > _SHOWN:
        yield "..."
