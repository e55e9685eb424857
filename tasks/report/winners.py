"""A few winners and losers of a round, side by side over their pictures: what preference alignment learns from."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from infra.store import Store
from infra.tables import read
from models.bodies import Body, load_body
from models.recovery import recover_body
from models.rendering import Intrinsics, overlay
from schemas.config.engine import EngineConfig
from schemas.tables import LABEL_AS_SAMPLE
from tasks.report.overlays import SIDE, photographs
from tasks.rows.hypotheses import StoredHypotheses, read_hypotheses
from tasks.rows.instances import Instances, load_instances

_WINNER, _LOSER = (0.35, 0.75, 0.45), (0.9, 0.4, 0.35)
_SHOWN_SIDE = 160
_QUALITY = 80
_COLUMNS = ["instance_id", "generation_id", "winner", "loser", "margin"]
NOTE = "Each row is a person: the picture, the winner in green, the loser in red; from the largest margin to the least."


def draw_pairs(store: Store, config: EngineConfig, ingest_key: str, pair_key: str, people: int = 4) -> bytes | None:
    """A JPEG of some `people`, spread over the margins from the largest to the least; None if there is no pair to draw.

    Pairs whose winner is a label are left out: no policy drew them.
    """
    rows = read(store, "pairs", stage_keys=[pair_key], columns=_COLUMNS).to_pylist()
    rows = [row for row in rows if row["winner"] != LABEL_AS_SAMPLE and row["margin"] is not None]
    if not rows:
        return None
    widest = {row["instance_id"]: row for row in sorted(rows, key=lambda row: (row["margin"], row["winner"]))}
    rows = sorted(widest.values(), key=lambda row: (-row["margin"], row["instance_id"]))
    places = np.unique(np.linspace(0, len(rows) - 1, min(people, len(rows))).round().astype(int))
    chosen = [rows[place] for place in places]
    ids = sorted(row["instance_id"] for row in chosen)
    them = load_instances(store, [ingest_key], ids)
    stored = read_hypotheses(store, chosen[0]["generation_id"], ids)
    body, photos = load_body(config.body), photographs(store, ingest_key, them)
    strips = []
    for row in chosen:
        place = them.ids.index(row["instance_id"])
        camera = Intrinsics(*(float(value) for value in them.crop_intrinsics[place])).scaled(SIDE / them.crop_size)
        meshes = _meshes(them, stored, body, config, place, (row["winner"], row["loser"]))
        drawn = [
            overlay(photos[place], mesh, body.faces.numpy(), camera, colour=colour)
            for mesh, colour in zip(meshes, (_WINNER, _LOSER), strict=True)
        ]
        strips.append(np.concatenate([photos[place], *drawn], axis=1))
    picture = Image.fromarray(np.concatenate(strips, axis=0))
    picture = picture.resize((3 * _SHOWN_SIDE, len(strips) * _SHOWN_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _meshes(
    people: Instances, stored: StoredHypotheses, body: Body, config: EngineConfig, place: int, samples: tuple[int, int]
) -> list[NDArray[np.float32]]:
    """Camera-frame vertices (V, 3) in metres of these samples of one person."""
    row = stored.ids.index(people.ids[place])
    columns = [int(np.flatnonzero(stored.samples == sample)[0]) for sample in samples]
    drawn = stored.hypotheses
    uvd, twists, betas, depth = (
        torch.from_numpy(np.ascontiguousarray(part[row, columns])).float()
        for part in (drawn.uvd, drawn.twists, drawn.betas, drawn.root_depth)
    )
    cameras = torch.from_numpy(people.crop_intrinsics[[place] * len(samples)])
    with torch.no_grad():
        found = recover_body(body, uvd, twists, betas, cameras, people.crop_size, depth, config.root_solver)
    vertices = found.vertices - found.joints[:, :1] + found.camera_joints[:, :1]
    return list(vertices.numpy())
