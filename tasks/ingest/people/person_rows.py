"""One person of a picture as rows of `instances` and `labels`: crop, cameras, and what is known of the body."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from infra.store import Store
from models.cameras import affine_intrinsics, crop_affine, square_box
from models.published_crops import CROP_PX, joint_box, published_square
from schemas.config.stages import IngestConfig
from schemas.ids import image_id
from schemas.tables import build, contract
from tasks.ingest.image.crop import cut_crop, encode_crop
from tasks.ingest.image.published_crop import cut_published_crop
from tasks.ingest.image.reading import Photograph, check_size
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.placing import Seen, seen
from tasks.ingest.people.posed import Posed
from tasks.ingest.people.row_checks import check_label
from tasks.ingest.source.folder import Folder, RefusedError

LABEL_SET = "gt"
"""The label set of labels that are true; of others, it is the name of their format."""
_LARGEST_BOX = 20
"""Sides of the picture: of a person in a larger box, next to nothing could be seen."""
BOX_SCALE = 1.25
"""Side of the crop over that of the box, where a row has no rule of its own."""
_OF_BODIES = (
    *("body_model", "global_orient", "body_pose", "betas", "transl", "twist"),
    *("left_hand_pose", "right_hand_pose", "jaw_pose", "expression"),
)
"""Columns of units and of `labels` that only bodies have; body_digest, which units lack, beside them."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Person:
    """One instance, before the cameras of a whole shard are computed together."""

    columns: dict[str, Any]
    box: Box
    square: NDArray[np.float64]
    """(4,) x, y, side, side."""
    intrinsics: Box
    """fx, fy, cx, cy."""
    label: dict[str, Any] | None = None
    """Columns of `labels`; None where nothing is known of the body."""


def see(
    unit: Mapping[str, Any],
    source: AnnotationSource,
    photograph: Photograph,
    body: Posed | None,
    config: IngestConfig,
    checked: bool = True,
) -> Person:
    """The person of a unit (`plan.annotations.units_of`) in its picture. RefusedError for what can't be, or, if labels
    are `checked`, can't be right."""
    width, height = photograph.size
    check_size((unit["width_px"], unit["height_px"]), photograph, unit["key"])
    focal, focal_source = photograph.focal(unit["fx"])
    centre = (width / 2 if unit["cx"] is None else unit["cx"], height / 2 if unit["cy"] is None else unit["cy"])
    intrinsics = (focal, focal if unit["fy"] is None else unit["fy"], *centre)
    box: Box = tuple(unit["box"] or (0.0, 0.0, float(width), float(height)))
    if unit.get("box_relative"):
        box = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    check_box(box, width, height)
    pixels = None if unit["pixels"] is None else np.reshape(unit["pixels"], (29, 2))
    label = None
    if body is not None or (unit["label_kind"] and unit["joints"] is not None):
        found = seen({**unit, "box": box}, body, pixels, (intrinsics, focal_source))
        intrinsics, focal_source = found.camera
        if checked or body is None:
            projected = check_label(
                found.row, found.joints, body is not None, pixels, (intrinsics, found.fitted_to), config
            )
            pixels = pixels if body is None else projected
        label = _label(found, source)
    rule, square = _square(unit, box, pixels, config)
    side = (float(square[0]), float(square[1]), float(square[2]))
    size = config.crop_size_px
    if rule == "joints" and size >= CROP_PX:  # what published weights were trained on
        affine = crop_affine(torch.from_numpy(square)[None], size)[0].numpy()
        crop = cut_published_crop(np.asarray(photograph.image), affine, size)
    else:
        crop = cut_crop(photograph.image, side, size)
    columns = {
        "instance_id": unit["id"],
        "image_id": image_id(source.dataset, source.split, unit["key"]),
        "dataset": source.dataset,
        "split": source.split,
        "person": unit["number"],
        "crop": encode_crop(crop, config.jpeg_quality),
        "crop_rule": rule,
        "intrinsics_source": focal_source,
        "source_digest": unit["source_digest"],
    }
    return Person(columns, box, square, intrinsics, label)


def check_box(box: Box, width: int, height: int) -> None:
    """RefusedError for a box that shows no person. Partly outside of the picture is no fault."""
    x, y, w, h = box
    shown = f"x={x:g}, y={y:g}, w={w:g}, h={h:g} in a picture of {width} x {height} pixels"
    if not (w > 0 and h > 0):
        raise RefusedError("box without area", shown)
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise RefusedError("box outside picture", shown)
    if max(w, h) > _LARGEST_BOX * max(width, height):
        raise RefusedError("box far too large", shown)


def instance_rows(people: Sequence[Person], size: int) -> pa.Table:
    """Rows of `instances`, without stage_key, with crops of `size` pixels."""
    squares = torch.from_numpy(np.array([person.square for person in people], np.float64).reshape(-1, 4))
    intrinsics = torch.tensor([person.intrinsics for person in people], dtype=torch.float64).reshape(-1, 4)
    affine = crop_affine(squares, size)
    return rows_of(
        "instances",
        [person.columns for person in people],
        {
            "box_xywh": np.array([person.box for person in people], np.float64).reshape(-1, 4),
            "crop_size_px": [size] * len(people),
            "crop_intrinsics": affine_intrinsics(intrinsics, affine).numpy(),
            "crop_affine": affine.reshape(-1, 6).numpy(),
            "image_intrinsics": intrinsics.numpy(),
        },
    )


def label_rows(people: Sequence[Person]) -> pa.Table:
    """Rows of `labels`, without stage_key, of those whose bodies are known."""
    return rows_of("labels", [person.label for person in people if person.label is not None])


def rows_of(table: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Any] | None = None) -> pa.Table:
    """A table without stage_key, which is filled in when the shard is written; no rows, no columns to check."""
    if not rows:
        return contract(table).schema.empty_table().drop_columns(["stage_key"])
    gathered = {name: [row[name] for row in rows] for name in rows[0]}
    return build(table, {**gathered, **(columns or {}), "stage_key": ""}).drop_columns(["stage_key"])


def image_row(
    source: AnnotationSource, key: str, uri: str, size: tuple[int, int], sha256: str, code: str | None
) -> dict[str, Any]:
    """A row of `images`, without stage_key; `size` is width and height in pixels, `code` the perceptual hash."""
    return {
        "image_id": image_id(source.dataset, source.split, key),
        "dataset": source.dataset,
        "split": source.split,
        "key": key,
        "uri": uri,
        "width_px": size[0],
        "height_px": size[1],
        "content_sha256": sha256,
        "perceptual_hash": code,
    }


def uri_of(store: Store, folder: Folder, key: str) -> str:
    """Where a picture is. Inside the store, below its root: a store that was moved or copied stays whole."""
    path = folder.path(key)
    if folder.is_local == store.is_local and path.startswith(f"{store.root}/"):
        return path[len(store.root) + 1 :]
    return path if folder.is_local else str(folder.fs.unstrip_protocol(path))


def _square(
    unit: Mapping[str, Any], box: Box, pixels: NDArray[np.floating] | None, config: IngestConfig
) -> tuple[str, NDArray[np.float64]]:
    """The square to be cut, and by which rule: that of joints where the unit asks for it and has them all. A box is
    enlarged by `box_padding` where the unit doesn't say by how much, and where crops are around boxes alone."""
    if config.crop == "box":
        return "box", np.asarray(square_box(torch.tensor(box, dtype=torch.float64), config.box_padding).numpy())
    if unit["crop_rule"] == "joints" and pixels is not None and np.isfinite(pixels[:24]).all():
        around = joint_box(torch.from_numpy(np.asarray(pixels[:24], np.float64)))
        return "joints", np.asarray(published_square(around, unit["crop_scale"]).numpy())
    own = config.box_padding if unit["crop_scale"] is None else unit["crop_scale"]
    scale = own if unit["crop_rule"] == "box" else BOX_SCALE
    return "box", np.asarray(square_box(torch.tensor(box, dtype=torch.float64), scale).numpy())


def _label(found: Seen, source: AnnotationSource) -> dict[str, Any]:
    """Columns of `labels`. Without a body there are joints alone, those of which the file has a point of the name."""
    unit, body = found.row, found.body
    label: dict[str, Any] = {
        "instance_id": unit["id"],
        "label_set": LABEL_SET if unit["label_kind"] == "gt" else source.format,
        "dataset": source.dataset,
        "split": source.split,
        "label_kind": unit["label_kind"],
        "gender": unit["gender"] or "neutral",
        "human36m": _finite(unit["human36m"]),
        "placed_by": found.placed_by,
    }
    if body is None:
        joints = found.joints
        valid = np.logical_and.reduce(np.isfinite(joints), axis=1)
        return {
            **label,
            **dict.fromkeys((*_OF_BODIES, "body_digest")),
            "joints": np.where(valid[:, None], joints, 0).reshape(-1),
            "joints_valid": valid.tolist(),
        }
    left, right = body.hands
    return {
        **label,
        **{name: unit[name] for name in _OF_BODIES},
        "body_digest": body.digest,
        "transl": body.transl,
        "left_hand_pose": left,
        "right_hand_pose": right,
        "twist": body.twist.reshape(-1),
        "joints": body.joints.reshape(-1),
        "joints_valid": [True] * 29,
    }


def _finite(vector: Any) -> NDArray[np.floating] | None:
    return np.reshape(vector, -1) if vector is not None and np.isfinite(vector).all() else None
