"""The meshes of a dozen people over their pictures: before, after, label. No result decides who they are."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import pyarrow.compute as pc
import roma
import torch
from numpy.typing import NDArray

from infra.store import Store
from infra.tables import read
from models.bodies import Body, load_body
from models.cameras import camera_from_uvd
from models.kinematics import Root
from schemas.config.engine import EngineConfig
from schemas.ids import StageKey, Target
from tasks.report.content import Overlay
from tasks.report.pictures.photographs import draw_over, photographs
from tasks.rows.hypotheses import read_hypotheses
from tasks.rows.instances import Instances, instance_ids, load_instances

PEOPLE = 12
POLICY_COLOUR: Final = (0.35, 0.65, 0.95)
LABEL_COLOUR: Final = (0.35, 0.75, 0.45)


def overlays_note(config: EngineConfig) -> str:
    """Who is shown, and what of them; nothing where nobody is held out."""
    if not config.sources.held_out:
        return ""
    return (
        f"The first {PEOPLE} people of {_shown(config)} by name, whatever their results; the sample from zero noise, "
        "with its MPVPE. Meshes of the policies in blue, of the label in green."
    )


def draw_overlays(
    store: Store,
    config: EngineConfig,
    ingest_keys: Sequence[StageKey],
    before: StageKey,
    after: StageKey | None,
) -> list[Overlay]:
    """`before` and `after` are keys of evaluations; without an `after` its pictures are the bare crops."""
    chosen = instance_ids(store, ingest_keys, [_shown(config)])[:PEOPLE]
    people = load_instances(store, ingest_keys, chosen)
    body, photos = load_body(config.body), photographs(store, ingest_keys, people)
    evaluations = [key for key in (before, after) if key is not None]
    errors: dict[StageKey | None, dict[str, float]] = {key: _errors(store, key, people.ids) for key in evaluations}
    meshes: dict[StageKey | None, dict[str, NDArray[np.float32]]] = {
        key: _policy_meshes(store, key, sorted(errors[key]), people, body, config.root_solver) for key in evaluations
    }
    labels = label_meshes(people, body)
    overlays = []
    for row, name in enumerate(people.ids):
        view = partial(draw_over, photos[row], people, row, body)
        overlays.append(
            Overlay(
                name,
                view(POLICY_COLOUR, meshes[before].get(name)),
                view(POLICY_COLOUR, meshes.get(after, {}).get(name)),
                view(LABEL_COLOUR, labels[name]) if name in labels else None,
                errors[before].get(name),
                errors.get(after, {}).get(name),
                photos[row],
            )
        )
    return overlays


def _shown(config: EngineConfig) -> Target:
    """The split whose people are shown; one is held out wherever something was evaluated."""
    return config.sources.held_out[0]


def _policy_meshes(
    store: Store, key: StageKey, ids: Sequence[str], people: Instances, body: Body, root: Root
) -> dict[str, NDArray[np.float32]]:
    """Camera-frame vertices (V, 3) in metres of sample 0 of the people `ids`, whom the evaluation has hypotheses of."""
    if not ids:
        return {}
    stored = read_hypotheses(store, key, ids)
    place = {name: row for row, name in enumerate(people.ids)}
    rows = np.array([place[name] for name in stored.ids])
    vertices = stored.hypotheses.at([0]).bodies(body, people, rows, root).camera_vertices
    return dict(zip(stored.ids, vertices.numpy(), strict=True))


def label_meshes(people: Instances, body: Body) -> dict[str, NDArray[np.float32]]:
    """Camera-frame vertices (V, 3) in metres of those of the people who have a label."""
    rows = np.flatnonzero(people.measurable)
    if not rows.size:
        return {}
    theta, betas, uvd, depth, cameras = (
        torch.from_numpy(part[rows])
        for part in (people.theta, people.betas, people.uvd, people.root_depth, people.crop_intrinsics)
    )
    with torch.no_grad():
        posed = body(roma.rotvec_to_rotmat(theta), betas)
        root = camera_from_uvd(uvd, cameras, people.crop_size, depth)[:, :1]
    vertices = posed.vertices - posed.joints[:, :1] + root
    return {people.ids[row]: mesh for row, mesh in zip(rows, vertices.numpy(), strict=True)}


def _errors(store: Store, key: StageKey, ids: Sequence[str]) -> dict[str, float]:
    """MPVPE (mm) of sample 0 of those of the people whom an evaluation has measured."""
    where = pc.field("sample_index") == 0
    rows = read(store, "errors", stage_keys=[key], ids=ids, where=where, columns=["instance_id", "mpvpe_mm"])
    return dict(zip(rows.column("instance_id").to_pylist(), rows.column("mpvpe_mm").to_pylist(), strict=True))
