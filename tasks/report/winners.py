"""A few winners and losers of a round, side by side over their pictures: what preference alignment learns from."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from schemas.config.engine import EngineConfig
from schemas.ids import StageKey
from schemas.tables import LABEL_AS_SAMPLE
from tasks.report.overlays import draw_over, photographs
from tasks.rows.hypotheses import read_hypotheses
from tasks.rows.instances import load_instances

_WINNER, _LOSER = (0.35, 0.75, 0.45), (0.9, 0.4, 0.35)
_SHOWN_SIDE = 160
_QUALITY = 80
_COLUMNS = ["instance_id", "generation_id", "winner", "loser", "margin"]
NOTE = "Each row is a person: the picture, the winner in green, the loser in red; from the largest margin to the least."


def draw_pairs(
    store: Store, config: EngineConfig, ingest_keys: Sequence[StageKey], pair_key: StageKey, most: int = 4
) -> bytes | None:
    """A JPEG of up to `most` people, spread over the margins from the largest to the least; None without any pair.

    Pairs whose winner is a label are left out: no policy drew them.
    """
    rows = read(store, "pairs", stage_keys=[pair_key], columns=_COLUMNS).to_pylist()
    rows = [row for row in rows if row["winner"] != LABEL_AS_SAMPLE and row["margin"] is not None]
    if not rows:
        return None
    widest = {row["instance_id"]: row for row in sorted(rows, key=lambda row: (row["margin"], row["winner"]))}
    rows = sorted(widest.values(), key=lambda row: (-row["margin"], row["instance_id"]))
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))
    chosen = [rows[place] for place in places]
    ids = sorted(row["instance_id"] for row in chosen)
    people = load_instances(store, ingest_keys, ids)
    stored = read_hypotheses(store, chosen[0]["generation_id"], ids)
    body, photos = load_body(config.body), photographs(store, ingest_keys, people)
    strips = []
    for row in chosen:
        place = people.ids.index(row["instance_id"])
        samples = np.searchsorted(stored.samples, [row["winner"], row["loser"]])
        pair = stored.hypotheses.take(np.array([stored.ids.index(row["instance_id"])])).at(samples)
        meshes = pair.bodies(body, people, np.array([place]), config.root_solver).camera_vertices.numpy()
        overlays = [
            draw_over(photos[place], people, place, body, colour, mesh)
            for mesh, colour in zip(meshes, (_WINNER, _LOSER), strict=True)
        ]
        strips.append(np.concatenate([photos[place], *overlays], axis=1))
    picture = Image.fromarray(np.concatenate(strips, axis=0))
    picture = picture.resize((3 * _SHOWN_SIDE, len(strips) * _SHOWN_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
