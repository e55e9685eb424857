"""The meshes of held-out people over their pictures: before, after, label; and of some of them in 3D."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import roma
import torch
from numpy.typing import NDArray

from infra.store import Store
from models.bodies import Body, load_body
from models.cameras import camera_from_uvd
from models.kinematics import Root
from schemas.config.engine import EngineConfig
from schemas.ids import StageKey, Target
from tasks.compare import EvaluationTable
from tasks.report.content import PEOPLE_LISTS, Overlay, PosedPerson
from tasks.report.measured import Evaluations
from tasks.report.pictures.chosen import EACH, lists_of, ranked, shown_in_3d
from tasks.report.pictures.photographs import draw_over, photographs
from tasks.rows.hypotheses import read_hypotheses
from tasks.rows.instances import Instances, instance_ids, load_instances

SIDE: Final = 320
"""Pixels of a view."""
POLICY_COLOUR: Final = (0.35, 0.65, 0.95)
LABEL_COLOUR: Final = (0.35, 0.75, 0.45)


class HeldOut(NamedTuple):
    """The people of a page."""

    overlays: Sequence[Overlay] = ()
    bodies: Sequence[PosedPerson] = ()
    faces: NDArray[np.integer] | None = None


def overlays_note(config: EngineConfig) -> str:
    """Who is shown, and what of them; nothing where nobody is held out."""
    if not config.sources.held_out:
        return ""
    return (
        f"People of {shown_split(config)}, by lists of up to {EACH}: {'; '.join(PEOPLE_LISTS.values())}. What is shown "
        "is the sample from zero noise, with its MPVPE. Meshes of the policies in blue, of the label in green."
    )


def draw_overlays(
    store: Store,
    config: EngineConfig,
    ingest_keys: Sequence[StageKey],
    before: StageKey,
    after: StageKey | None,
    measured: Evaluations,
) -> HeldOut:
    """`before` and `after` are keys of evaluations, and `measured` what they measured; without an `after` its pictures
    are the bare crops."""
    split = shown_split(config)
    tables: dict[StageKey | None, EvaluationTable | None] = {before: measured[0].get(split)}
    tables[after] = measured[1].get(split)
    lists = ranked(instance_ids(store, ingest_keys, [split])[:EACH], tables[before], tables[after])
    chosen = lists_of(lists)
    people = load_instances(store, ingest_keys, list(chosen))
    body, photos = load_body(config.body), photographs(store, ingest_keys, people, SIDE)
    figures = {key: _figures(table) for key, table in tables.items()}
    newest = figures[after] or figures[before]
    meshes: dict[StageKey | None, dict[str, NDArray[np.float32]]] = {
        key: _policy_meshes(store, key, sorted(set(chosen) & set(figures[key])), people, body, config.root_solver)
        for key in (before, after)
        if key is not None
    }
    labels = label_meshes(people, body)
    overlays = []
    for row, name in enumerate(people.ids):
        view = partial(draw_over, photos[row], people, row, body)
        known, was, now = newest.get(name), figures[before].get(name), figures[after].get(name)
        overlays.append(
            Overlay(
                name,
                view(POLICY_COLOUR, meshes[before].get(name)),
                view(POLICY_COLOUR, meshes.get(after, {}).get(name)),
                view(LABEL_COLOUR, labels[name]) if name in labels else None,
                None if was is None else was.error_mm,
                None if now is None else now.error_mm,
                photos[row],
                None if known is None else known.score,
                None if known is None else known.disagreement_mm,
                chosen[name],
            )
        )
    posed = {"before": meshes[before], "after": meshes.get(after, {}), "label": labels}
    bodies = [_posed(name, people, posed) for name in shown_in_3d(lists)]
    return HeldOut(overlays, [one for one in bodies if one.meshes], body.faces.numpy())


class _Figures(NamedTuple):
    """What was measured of a person's hypotheses."""

    error_mm: float
    """MPVPE of the zero-noise sample."""
    score: float | None
    disagreement_mm: float


def _figures(table: EvaluationTable | None) -> dict[str, _Figures]:
    """By person."""
    if table is None:
        return {}
    scores = [None] * len(table.ids) if table.scores is None else table.scores[:, 0].tolist()
    rows = zip(table.errors["mpvpe"][:, 0].tolist(), scores, table.diversity.tolist(), strict=True)
    return {name: _Figures(*row) for name, row in zip(table.ids, rows, strict=True)}


def _posed(name: str, people: Instances, meshes: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> PosedPerson:
    fx, fy, cx, cy = (float(value) for value in people.crop_intrinsics[people.ids.index(name)])
    known = {view: of_all[name] for view, of_all in meshes.items() if name in of_all}
    return PosedPerson(name, (fx, fy, cx, cy), people.crop_size, known)


def shown_split(config: EngineConfig) -> Target:
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
