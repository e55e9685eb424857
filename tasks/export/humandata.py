"""Labels as HumanData: the npz files that HMR-Scorer and much of the field read."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from models.cameras import project
from schemas.errors import DataError
from schemas.ids import parse_instance_id
from tasks.export.rows import Lookup, Rows, batches_of, key_of_image, vectors
from tasks.export.target import whole_file
from tasks.ingest.formats.humandata.file import RELATIVE_HANDS

KEYPOINTS: Final = 190
"""Columns of the HumanData convention."""
SMPL_COLUMNS: Final = (*range(22), 188, 189, 147, 68, 73, 60, 63)
"""The columns with the names of our 29 joints: 24 of SMPL, head top, middle finger tips, big toes."""
SMPLX_COLUMNS: Final = (*range(22), 28, 43, 147, 68, 73, 60, 63)
"""The same for SMPL-X, which has no joint in the hand: 22 and 23 are the knuckles of the middle fingers."""
LABEL_COLUMNS: Final = (
    *("instance_id", "label_kind", "label_set", "body_model", "gender", "global_orient", "body_pose", "betas"),
    *("transl", "left_hand_pose", "right_hand_pose", "jaw_pose", "expression", "joints", "joints_valid"),
)
INSTANCE_COLUMNS: Final = ("image_id", "box_xywh", "image_intrinsics")
SAMPLE_COLUMNS: Final = ("sample_index", "score")
"""Further columns of labels that are hypotheses."""
IMAGE_COLUMNS: Final = ("width_px", "height_px")
_MISC: Final = ("label_kind", "label_set", *SAMPLE_COLUMNS)
_OF_SMPLX: Final = {
    "left_hand_pose": (15, 3),
    "right_hand_pose": (15, 3),
    "jaw_pose": (3,),
    "expression": (10,),
}


def export_humandata(
    labels: Rows, instances: Rows, images: Rows, target: str, compressed: bool = True, hypotheses: bool = False
) -> int:
    """Write rows of `labels` as the HumanData npz file `target` (path or URL); returns how many people it holds.

    Keys: image_path (the picture's key, relative to its folder), bbox_xywh (N, 5) with confidence 1, `smpl` or `smplx`
    (a dictionary: global_orient (N, 3), body_pose (N, 23 or 21, 3), betas (N, 10), transl (N, 3), gender, and for
    SMPL-X hands, jaw and expression where any label has them), keypoints2d_<model> (N, K, 3) px and confidence,
    keypoints3d_<model> (N, K, 4) metres in the camera frame and confidence, their masks (190,), meta (height, width,
    focal_length (N, 2), principal_point (N, 2)), misc (label_kind, label_set, hands; of hypotheses sample_index and
    score, NaN where there is none). Rows are sorted by picture, person and sample.

    Args:
        labels: rows of the table labels with LABEL_COLUMNS: gt labels, or those that the filter kept. One body model.
        instances: rows of instances (instance_id, INSTANCE_COLUMNS) that has all people of the labels.
        images: rows of images (image_id, IMAGE_COLUMNS) that has their pictures.
        compressed: keep only the columns of key-points that are known, as the published files do.
        hypotheses: the labels have SAMPLE_COLUMNS, too, and a person may have several.

    Raises DataError for labels of unknown people, of two body models, two labels of one person, no label, or a target
    that can't be written. All numbers are held in memory (1.3 kB a person).
    """
    people = Lookup(instances, "instance_id", INSTANCE_COLUMNS, "instances")
    pictures = Lookup(images, "image_id", IMAGE_COLUMNS, "images")
    columns_read = (*LABEL_COLUMNS, *(SAMPLE_COLUMNS if hypotheses else ()))
    parts = [_part(part, people, pictures) for part in batches_of(labels, columns_read, "labels", at_once=10_000)]
    if not parts:
        raise DataError("There is no label to export.")
    models = sorted({part.body_model for part in parts} - {"mixed"})
    if len(models) != 1 or any(part.body_model == "mixed" for part in parts):
        raise DataError("The labels speak of SMPL and of SMPL-X bodies; export those of one body model at a time.")
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    samples = columns["sample_index"].tolist() if hypotheses else itertools.repeat(0)
    names = list(zip((name for part in parts for name in part.names), samples, strict=False))
    if len(set(names)) < len(names):
        raise DataError("Two labels of one person can't be exported into one file; choose one label_set.")
    order = sorted(range(len(names)), key=lambda row: _sorted_by(*names[row]))
    members = _members({name: values[order] for name, values in columns.items()}, models[0], compressed)
    with whole_file(target) as file, file.open("wb") as stream:
        np.savez_compressed(stream, **members)
    return len(names)


@dataclass(frozen=True)
class _Part:
    names: Sequence[str]
    body_model: str
    columns: dict[str, NDArray[Any]]


def _part(labels: pa.Table, people: Lookup, pictures: Lookup) -> _Part:
    names = labels.column("instance_id").to_pylist()
    bodies = set(labels.column("body_model").to_pylist())
    instances = people.rows(names)
    image_ids = instances.column("image_id").to_pylist()
    sizes = pictures.rows(image_ids)
    camera = vectors(instances, "image_intrinsics", 4)
    joints = vectors(labels, "joints", 87).reshape(-1, 29, 3)
    valid = vectors(labels, "joints_valid", 29) > 0
    pixels = project(torch.from_numpy(joints), torch.from_numpy(camera)).numpy()
    in_front = valid & (joints[..., 2] > 0)
    columns: dict[str, NDArray[Any]] = {
        "image_path": np.array([key_of_image(name) for name in image_ids]),
        "bbox_xywh": np.concatenate([vectors(instances, "box_xywh", 4), np.ones((len(names), 1))], 1),
        "global_orient": vectors(labels, "global_orient", 3),
        "body_pose": vectors(labels, "body_pose", 69).reshape(-1, 23, 3),
        "betas": vectors(labels, "betas", 10),
        "transl": vectors(labels, "transl", 3),
        "gender": np.array(labels.column("gender").to_pylist()),
        "keypoints2d": np.concatenate([np.where(in_front[..., None], pixels, 0), in_front[..., None]], -1),
        "keypoints3d": np.concatenate([np.where(valid[..., None], joints, 0), valid[..., None]], -1),
        "height": sizes.column("height_px").to_numpy().astype(np.int64),
        "width": sizes.column("width_px").to_numpy().astype(np.int64),
        "focal_length": camera[:, :2],
        "principal_point": camera[:, 2:],
        "label_kind": np.array(labels.column("label_kind").to_pylist()),
        "label_set": np.array(labels.column("label_set").to_pylist()),
        **{name: _or_zeros(labels, name, shape) for name, shape in _OF_SMPLX.items()},
        **{f"has {name}": labels.column(name).is_valid().to_numpy() for name in _OF_SMPLX},
        # null becomes NaN
        **{name: labels.column(name).to_numpy() for name in SAMPLE_COLUMNS if name in labels.column_names},
    }
    return _Part(names, bodies.pop() if len(bodies) == 1 else "mixed", columns)


def _or_zeros(labels: pa.Table, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    zeros = [0.0] * int(np.prod(shape))
    rows = [zeros if row is None else row for row in labels.column(name).to_pylist()]
    return np.array(rows, np.float64).reshape(-1, *shape)


def _members(columns: dict[str, NDArray[Any]], model: str, compressed: bool) -> dict[str, Any]:
    body = {name: columns[name].astype(np.float32) for name in ("global_orient", "body_pose", "betas", "transl")}
    if model == "smplx":
        body["body_pose"] = body["body_pose"][:, :21]
        body.update(
            {name: columns[name].astype(np.float32) for name in _OF_SMPLX if columns[f"has {name}"].any()},
        )
    meta = {name: columns[name] for name in ("height", "width", "focal_length", "principal_point")}
    places = np.array(SMPLX_COLUMNS if model == "smplx" else SMPL_COLUMNS)
    mask = np.zeros(KEYPOINTS, np.int64)
    mask[places] = 1
    members: dict[str, Any] = {
        "image_path": columns["image_path"],
        "bbox_xywh": columns["bbox_xywh"].astype(np.float32),
        model: _boxed({**body, "gender": columns["gender"]}),
        "meta": _boxed(meta),
        # hands are relative to the mean hand, whatever the data set's own files had
        "misc": _boxed({"hands": RELATIVE_HANDS, **{name: columns[name] for name in _MISC if name in columns}}),
        "__keypoints_compressed__": np.array(compressed),
    }
    for name in ("keypoints2d", "keypoints3d"):
        values = columns[name].astype(np.float32)
        spread = np.zeros((len(values), KEYPOINTS, values.shape[-1]), np.float32) if not compressed else None
        if spread is not None:
            spread[:, places] = values
        members[f"{name}_{model}"] = values[:, np.argsort(places)] if spread is None else spread
        members[f"{name}_{model}_mask"] = mask
    return members


def _boxed(values: dict[str, Any]) -> NDArray[Any]:
    """A dictionary as HumanData files hold one: an array of one object."""
    box = np.empty((), object)
    box[()] = values
    return box


def _sorted_by(instance: str, sample: int) -> tuple[str, int, int]:
    name = parse_instance_id(instance)
    return f"{name.image.dataset}/{name.image.split}/{name.image.key}", name.person, sample
