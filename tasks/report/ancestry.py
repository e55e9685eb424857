"""How a model came about, as far as its store knows: the models before it, and the people that each was trained on."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow.compute as pc

from infra.stages import StageRecord, find
from infra.standing import INGEST, read_standing
from infra.store import Store
from infra.tables import read
from schemas.ids import ModelDigest
from tasks.rows.drawn import DRAW
from tasks.rows.part import Part

_LABELLED: Final[Mapping[str, str]] = {
    "train_base": "target",
    "train_scorer": "target",
    "align": "replay",
    "train_clean": "labelled",
}
"""By the stage that trained: what of its configuration names the labelled splits that it read."""
_SYNTHESIZE: Final = "synthesize"


@dataclass(frozen=True)
class People:
    """People of a split that a training read."""

    split: str
    """dataset/split."""
    count: int
    role: str
    """What they were there for: "labelled", "pairs", ..."""
    synthetic: bool = False
    """Whether the engine made the pictures itself."""


@dataclass(frozen=True)
class Made:
    """A model, and the stage that made it. Without a stage, the store knows no more than the digest."""

    digest: ModelDigest
    kind: str = ""
    stage: StageRecord | None = None
    parents: tuple[ModelDigest, ...] = ()
    """Models that it was trained from."""
    choosers: tuple[ModelDigest, ...] = ()
    """Scorers that chose its pairs, or what labels were kept."""
    people: tuple[People, ...] = ()


def ancestry(store: Store, digest: ModelDigest) -> list[Made]:
    """The model and all that it comes from, each once and after what it comes from; itself last."""
    table = read(store, "models", columns=["digest", "kind", "parents", "stage_key"])
    rows = {row["digest"]: row for row in table.to_pylist()}
    made: dict[ModelDigest, Made] = {}
    begun: set[ModelDigest] = set()

    def follow(one: ModelDigest) -> None:
        if one in begun:
            return
        begun.add(one)
        known = _made(store, one, rows[one]) if one in rows else Made(one)
        for before in (*known.parents, *known.choosers):
            follow(before)
        made[one] = known

    follow(digest)
    return list(made.values())


def learned_from(store: Store, digest: ModelDigest) -> set[str]:
    """The instances whose pairs, pseudo-labels or kept labels the model was trained on, or one that it comes from."""
    names: set[str] = set()
    for made in ancestry(store, digest):
        inputs = (find(store, key) for key in made.stage.reads) if made.stage is not None else ()
        for one in inputs:
            table = "pairs" if one is not None and one.rows.get("pairs") else "labels"
            if one is not None and one.rows.get(table) and not _is_ingest(one):
                rows = read(store, table, stage_keys=[one.stage_key], columns=["instance_id"])
                names |= set(rows.column(0).to_pylist())
    return names


def _made(store: Store, digest: ModelDigest, row: Mapping[str, Any]) -> Made:
    record = find(store, row["stage_key"])
    parents = tuple(ModelDigest(parent) for parent in row["parents"])
    if record is None:
        return Made(digest, row["kind"], None, parents)
    inputs = [one for key in dict.fromkeys(record.reads) if (one := find(store, key)) is not None]
    chosen = [one for one in inputs if one.rows.get("pairs") or (one.rows.get("labels") and not _is_ingest(one))]
    choosers = dict.fromkeys(digest for one in chosen for digest in _scorers_of(store, one))
    people = [*_labelled(store, record, inputs), *(part for one in chosen for part in _given(store, one, inputs))]
    return Made(digest, row["kind"], record, parents, tuple(choosers), tuple(people))


def _labelled(store: Store, record: StageRecord, inputs: list[StageRecord]) -> Iterator[People]:
    """The people whose own labels a training read."""
    targets, part = labelled_splits(record)
    train = record.config.get("train", {})
    if record.stage == "align" and not (train.get("replay") and train.get("replay_images")):
        return
    keys = [one.stage_key for one in inputs if _is_ingest(one)]
    if not targets or not keys:
        return
    with_body = (pc.field("label_kind") == "gt") & pc.field("body_model").is_valid()
    rows = read_standing(store, "labels", keys, where=with_body, columns=["instance_id"])
    made_here, names = _of_the_engine(store, inputs), rows.column("instance_id").to_pylist()
    for split, count in _counts(names if part is None else part.of(names)).items():
        if split in targets:
            yield People(split, count, "labelled", split.partition("/")[0] in made_here)


def _given(store: Store, source: StageRecord, inputs: list[StageRecord]) -> Iterator[People]:
    """The people whose pairs or pseudo-labels a training read."""
    made_here = _of_the_engine(store, inputs)
    table, role = ("pairs", "pairs") if source.rows.get("pairs") else ("labels", "pseudo-labels")
    rows = read(store, table, stage_keys=[source.stage_key], columns=["instance_id"])
    for split, count in _counts(rows.column("instance_id").to_pylist()).items():
        yield People(split, count, role, split.partition("/")[0] in made_here)


def _counts(names: Iterable[str]) -> dict[str, int]:
    """Different people by split, in the order of the names."""
    return dict(sorted(Counter("/".join(name.split("/", 2)[:2]) for name in set(names)).items()))


def labelled_splits(training: StageRecord) -> tuple[set[str], Part | None]:
    """The labelled splits that a training's configuration names: one, or each with its weight; and the part of them."""
    said, part = training.config.get(_LABELLED.get(training.stage, "")), None
    if isinstance(said, Mapping):  # as `Mix.key` has it
        said, part = said["of"], Part(*said["part"])
    return {said} if isinstance(said, str) else {str(one[0]) for one in said or ()}, part


def _scorers_of(store: Store, chosen: StageRecord) -> Iterator[ModelDigest]:
    """The scorers whose scores a choice went by, also where people looked it over."""
    for key in chosen.reads:
        record = find(store, key)
        if record is not None and record.rows.get("pairs"):
            yield from _scorers_of(store, record)
        elif record is not None and record.rows.get("scores"):
            yield from record.models[-1:] if record.stage == DRAW else record.models  # the first one drew


def _of_the_engine(store: Store, inputs: list[StageRecord]) -> set[str]:
    """The data sets that the engine made itself, among those that were ingested."""
    made_here = [one.stage_key for one in inputs if _is_ingest(one) and _is_synthetic(store, one)]
    rows = read(store, "instances", stage_keys=made_here, columns=["dataset"]) if made_here else None
    return set() if rows is None else set(pc.unique(rows.column("dataset")).to_pylist())


def _is_synthetic(store: Store, ingest: StageRecord) -> bool:
    return any((record := find(store, key)) is not None and record.stage == _SYNTHESIZE for key in ingest.reads)


def _is_ingest(record: StageRecord) -> bool:
    return record.stage == INGEST or bool(record.rows.get("instances"))
