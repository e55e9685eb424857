"""The meshes of a dozen people over their pictures: before, after, label. No result decides who they are."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow.compute as pc
import roma
import torch
from numpy.typing import NDArray
from PIL import Image

from infra.standing import read_standing
from infra.store import Store
from infra.tables import read
from models.bodies import Body, load_body
from models.cameras import Intrinsics, camera_from_uvd
from models.kinematics import Root
from models.rendering.shading import overlay
from schemas.config.engine import EngineConfig
from schemas.config.stages import IngestConfig
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from schemas.tables import matrix
from tasks.ingest.image.reading import decode_picture
from tasks.ingest.source.files import open_file, open_url
from tasks.ingest.source.folder import RefusedError
from tasks.report.content import Overlay
from tasks.rows.hypotheses import read_hypotheses
from tasks.rows.instances import Instances, among, in_order, instance_ids, load_instances

PEOPLE = 12
SIDE = 256
_POLICY_COLOUR = (0.35, 0.65, 0.95)
_LABEL_COLOUR = (0.35, 0.75, 0.45)
_Picture = NDArray[np.uint8]


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
    labels = _label_meshes(people, body)
    overlays = []
    for row, name in enumerate(people.ids):
        view = partial(draw_over, photos[row], people, row, body)
        overlays.append(
            Overlay(
                name,
                view(_POLICY_COLOUR, meshes[before].get(name)),
                view(_POLICY_COLOUR, meshes.get(after, {}).get(name)),
                view(_LABEL_COLOUR, labels[name]) if name in labels else None,
                errors[before].get(name),
                errors.get(after, {}).get(name),
                photos[row],
            )
        )
    return overlays


def draw_over(
    photo: _Picture,
    people: Instances,
    row: int,
    body: Body,
    colour: tuple[float, float, float],
    mesh: NDArray[np.float32] | None,
) -> _Picture:
    """The mesh (V, 3), in metres of the camera frame, over the view of the person `row`; the bare view without one."""
    if mesh is None:
        return photo
    camera = Intrinsics(*(float(value) for value in people.crop_intrinsics[row])).scaled(SIDE / people.crop_size)
    return overlay(photo, mesh, body.faces.numpy(), camera, colour=colour)


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


def _label_meshes(people: Instances, body: Body) -> dict[str, NDArray[np.float32]]:
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
    where = (pc.field("sample_index") == 0) & among(ids)
    rows = read(store, "errors", stage_keys=[key], where=where, columns=["instance_id", "mpvpe_mm"])
    return dict(zip(rows.column("instance_id").to_pylist(), rows.column("mpvpe_mm").to_pylist(), strict=True))


def photographs(store: Store, ingest_keys: Sequence[StageKey], people: Instances) -> list[_Picture]:
    """(256, 256, 3) views of the crops, cut from the pictures where those still are, else the crops enlarged."""
    where = pc.field("instance_id").isin(list(people.ids))
    columns = ["instance_id", "image_id", "crop_affine"]
    rows = in_order(read_standing(store, "instances", ingest_keys, where=where, columns=columns), people.ids)
    affines = matrix(rows, "crop_affine").reshape(-1, 2, 3).astype(np.float64)
    names = rows.column("image_id").to_pylist()
    where = pc.field("image_id").isin(names)
    images = read_standing(store, "images", ingest_keys, where=where, columns=["image_id", "uri"])
    uris = dict(zip(images.column("image_id").to_pylist(), images.column("uri").to_pylist(), strict=True))
    photos = []
    for crop, name, affine in zip(people.crops, names, affines, strict=True):
        sharp = _cut(uris[name], affine, people.crop_size)
        photos.append(_enlarged(crop) if sharp is None else sharp)
    return photos


def _cut(uri: str, affine: NDArray[np.float64], crop_size: int) -> _Picture | None:
    """The crop once more, at a higher resolution; None where the picture is no longer there."""
    try:
        with open_file(*open_url(uri)) as file:
            picture = decode_picture(file.read(), uri, IngestConfig().max_pixels).image
    except (OSError, DataError, RefusedError):
        return None
    scale = affine[0, 0] * SIDE / crop_size  # of picture pixels to pixels of the view
    shift = affine[:, 2] * SIDE / crop_size
    back = (1 / scale, 0.0, -shift[0] / scale, 0.0, 1 / scale, -shift[1] / scale)
    view = picture.transform((SIDE, SIDE), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
    return np.asarray(view)


def _enlarged(crop: NDArray[np.uint8]) -> _Picture:
    return np.asarray(Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
