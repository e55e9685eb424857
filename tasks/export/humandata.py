"""Labels as HumanData: the npz files that HMR-Scorer and much of the field read."""

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
from tasks.ingest.plan.rows import rows_matrix

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
_OF_BODIES: Final = {"global_orient": 3, "body_pose": 69, "betas": 10, "transl": 3}
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
    that can't be written. All numbers are held in memory (some 5 kB a person).
    """
    people = Lookup(instances, "instance_id", INSTANCE_COLUMNS, "instances")
    pictures = Lookup(images, "image_id", IMAGE_COLUMNS, "images")
    columns = (*LABEL_COLUMNS, *(SAMPLE_COLUMNS if hypotheses else ()))
    parts = list(batches_of(labels, columns, "labels"))
    if not parts:
        raise DataError("There is no label to export.")
    table = pa.concat_tables(parts)
    models = table.column("body_model").unique().to_pylist()
    if len(models) != 1:
        raise DataError("The labels are of SMPL and of SMPL-X bodies; export those of one body model at a time.")
    samples = table.column("sample_index").to_pylist() if hypotheses else [0] * len(table)
    names = list(zip(table.column("instance_id").to_pylist(), samples, strict=True))
    if len(set(names)) < len(names):
        raise DataError("Two labels of one person can't be exported into one file; choose one label_set.")
    order = sorted(range(len(names)), key=lambda row: _sorted_by(*names[row]))
    members = _members(table.take(order), people, pictures, models[0], compressed)
    with whole_file(target) as file, file.open("wb") as stream:
        np.savez_compressed(stream, **members)
    return len(names)


def _members(labels: pa.Table, people: Lookup, pictures: Lookup, model: str, compressed: bool) -> dict[str, Any]:
    instances = people.rows(labels.column("instance_id").to_pylist())
    image_ids = instances.column("image_id").to_pylist()
    sizes = pictures.rows(image_ids)
    camera = vectors(instances, "image_intrinsics", 4)
    body = {name: vectors(labels, name, length).astype(np.float32) for name, length in _OF_BODIES.items()}
    body["body_pose"] = body["body_pose"].reshape(-1, 23, 3)
    if model == "smplx":
        body["body_pose"] = body["body_pose"][:, :21]
        for name, shape in _OF_SMPLX.items():
            if labels.column(name).null_count < len(labels):
                values = rows_matrix(labels, name, shape)
                body[name] = np.where(np.isnan(values), 0, values).astype(np.float32)
    meta: dict[str, NDArray[Any]] = {
        **{name: sizes.column(f"{name}_px").to_numpy().astype(np.int64) for name in ("height", "width")},
        "focal_length": camera[:, :2],
        "principal_point": camera[:, 2:],
    }
    misc = {name: np.array(labels.column(name).to_pylist()) for name in ("label_kind", "label_set")}
    # null becomes NaN
    misc |= {name: labels.column(name).to_numpy() for name in SAMPLE_COLUMNS if name in labels.column_names}
    joints = vectors(labels, "joints", 87).reshape(-1, 29, 3)
    valid = vectors(labels, "joints_valid", 29) > 0
    in_front = valid & (joints[..., 2] > 0)
    pixels = project(torch.from_numpy(joints), torch.from_numpy(camera)).numpy()
    places = np.array(SMPLX_COLUMNS if model == "smplx" else SMPL_COLUMNS)
    mask = np.zeros(KEYPOINTS, np.int64)
    mask[places] = 1
    members: dict[str, Any] = {
        "image_path": np.array([key_of_image(name) for name in image_ids]),
        "bbox_xywh": np.insert(vectors(instances, "box_xywh", 4), 4, 1, axis=1).astype(np.float32),
        model: _boxed({**body, "gender": np.array(labels.column("gender").to_pylist())}),
        "meta": _boxed(meta),
        # hands are relative to the mean hand, whatever the data set's own files had
        "misc": _boxed({"hands": RELATIVE_HANDS, **misc}),
        "__keypoints_compressed__": np.array(compressed),
    }
    for name, points, shown in (("keypoints2d", pixels, in_front), ("keypoints3d", joints, valid)):
        values = np.concatenate([np.where(shown[..., None], points, 0), shown[..., None]], -1).astype(np.float32)
        members[f"{name}_{model}"] = values[:, np.argsort(places)]
        if not compressed:
            members[f"{name}_{model}"] = np.zeros((len(values), KEYPOINTS, values.shape[-1]), np.float32)
            members[f"{name}_{model}"][:, places] = values
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
