"""A few winners and losers of a round, side by side over their pictures: what preference alignment learns from."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from schemas.config.engine import EngineConfig
from schemas.ids import StageKey
from schemas.tables import LABEL_AS_SAMPLE
from tasks.regenerate import hypotheses_at
from tasks.report.pictures.photographs import Picture, draw_over, photographs
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import load_instances

Row = Mapping[str, Any]
WINNER_COLOUR, LOSER_COLOUR = (0.35, 0.75, 0.45), (0.9, 0.4, 0.35)
_SHOWN_SIDE = 160
_QUALITY = 80
_COLUMNS = ["instance_id", "generation_id", "winner", "loser", "winner_score", "loser_score", "margin"]
_SORTED = [("margin", "descending"), ("instance_id", "ascending"), ("winner", "ascending"), ("loser", "ascending")]
ORDER: Final = "from the largest margin to the smallest"
NOTE = f"Each row is a pair: the picture, the winner in green, the loser in red; {ORDER}."


@dataclass(frozen=True)
class ShownPair:
    """A pair as it is shown: views of the person, bare and with either hypothesis over it."""

    instance_id: str
    photo: Picture
    winner: Picture
    loser: Picture
    winner_score: float | None
    loser_score: float | None
    margin: float


def shown_pairs(
    store: Store, config: EngineConfig, ingest_keys: Sequence[StageKey], pair_keys: Sequence[StageKey], most: int
) -> list[ShownPair]:
    """Up to `most` pairs of these stages, evenly spread from the largest margin to the smallest: an odd number has the
    median.

    Pairs whose winner is a label are left out: no policy drew it, and it has no score.
    """
    chosen = chosen_pairs(store, pair_keys, most)
    if not chosen:
        return []
    ids = sorted({row["instance_id"] for row in chosen})
    people = load_instances(store, ingest_keys, ids)
    both = _hypotheses(store, chosen, config.body)
    body, photos = load_body(config.body), photographs(store, ingest_keys, people)
    pairs = []
    for number, row in enumerate(chosen):
        place = ids.index(row["instance_id"])
        meshes = both[number].bodies(body, people, np.array([place]), config.root_solver).camera_vertices.numpy()
        winner, loser = (
            draw_over(photos[place], people, place, body, colour, mesh)
            for mesh, colour in zip(meshes, (WINNER_COLOUR, LOSER_COLOUR), strict=True)
        )
        scores = row["winner_score"], row["loser_score"]
        pairs.append(ShownPair(row["instance_id"], photos[place], winner, loser, *scores, row["margin"]))
    return pairs


def chosen_pairs(store: Store, pair_keys: Sequence[StageKey], most: int) -> list[Row]:
    """The rows of those whom `shown_pairs` shows. Of all pairs, of which there may be millions, only what they are
    sorted by is in memory."""
    by_score = (pc.field("winner") != LABEL_AS_SAMPLE) & pc.field("margin").is_valid()
    names = [name for name, _ in _SORTED]
    every = read(store, "pairs", stage_keys=list(pair_keys), where=by_score, columns=names)
    if not len(every):
        return []
    order = pc.sort_indices(every, sort_keys=_SORTED)
    chosen = every.take(order.take(pa.array(spread(len(every), most)))).to_pylist()
    ids = {row["instance_id"] for row in chosen}
    whole = read(store, "pairs", stage_keys=list(pair_keys), ids=ids, where=by_score, columns=_COLUMNS).to_pylist()
    by_place = {tuple(row[name] for name in names): row for row in reversed(whole)}
    return [by_place[tuple(row.values())] for row in chosen]


def _hypotheses(store: Store, pairs: Sequence[Row], body: str) -> dict[int, Hypotheses]:
    """Winner and loser of each of these rows, by its place; of every generation in one go."""
    found: dict[int, Hypotheses] = {}
    for generation in dict.fromkeys(row["generation_id"] for row in pairs):
        places = [place for place, row in enumerate(pairs) if row["generation_id"] == generation]
        names = [pairs[place]["instance_id"] for place in places]
        samples = np.array([(pairs[place]["winner"], pairs[place]["loser"]) for place in places])
        hypotheses = hypotheses_at(store, generation, names, samples, body)
        found |= {place: hypotheses.take(np.array([number])) for number, place in enumerate(places)}
    return found


def spread(count: int, most: int) -> list[int]:
    """Up to `most` of `count` places, evenly apart, the first and the last among them."""
    return sorted({*np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()})


def draw_pairs(
    store: Store, config: EngineConfig, ingest_keys: Sequence[StageKey], pair_keys: Sequence[StageKey], most: int = 4
) -> bytes | None:
    """A JPEG of `shown_pairs`, a row each; None without any."""
    pairs = shown_pairs(store, config, ingest_keys, pair_keys, most)
    if not pairs:
        return None
    strips = [np.concatenate([pair.photo, pair.winner, pair.loser], axis=1) for pair in pairs]
    picture = Image.fromarray(np.concatenate(strips, axis=0))
    picture = picture.resize((3 * _SHOWN_SIDE, len(strips) * _SHOWN_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
