"""One person of a ScoreHypo-style json file as a row of ours."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.skeleton import BETAS, JOINTS, SMPL_JOINTS, TWISTS
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.json_rows import UNREADABLE, entry, numbers, placed, points, shown, sides, table, vector
from tasks.ingest.formats.scorehypo.sets import HUMAN36M_COUNT, MPI_INF_3DHP, PublishedSet
from tasks.ingest.people.agreement import root_relative
from tasks.ingest.people.box_checks import check_box_points
from tasks.ingest.people.keypoints import BY_BODY, BY_NAMES, HUMAN36M, JOINTS_29, converted
from tasks.ingest.source.folder import RefusedError

NO_TWIST_BELOW: Final = -10.0
"""An angle up to this marks an unknown twist."""
EXCLUDED: Final = ("s_09_act_05_subact_02_ca", "s_09_act_10_subact_02_ca", "s_09_act_13_subact_01_ca")
"""Sequences of Human3.6M whose labels are known to be wrong; published evaluations leave them out."""


@dataclass(frozen=True)
class Agreed:
    """What a file's first rows settle for all of them."""

    present: frozenset[str] = frozenset()
    """Keys that are not in every set, but in most rows of this file: a row without one is refused."""
    units: Mapping[str, float] = field(default_factory=dict)
    """Factor to metres, by key."""
    corners: bool = False
    """Boxes are two corners."""
    transl: float | None = None
    """Factor to metres of smpl_param's trans; None: it is not what places the body in the camera frame."""
    folder: str = ""
    """Where the pictures are, below the root."""
    remarks: tuple[str, ...] = ()


def person(row: Mapping[str, Any], published: PublishedSet, agreed: Agreed) -> dict[str, Any]:
    """The columns of a row, without place and path. Raises RefusedError for one that can't be used."""
    excluded = [name for name in EXCLUDED if published.name == "human36m" and name in row["file_name"]]
    if excluded:
        raise RefusedError("excluded sequence", f"published evaluations leave {excluded[0]} out: its labels err")
    box = json_rows.box(entry(row, "bbox"), agreed.corners)
    width, height = sides(row)
    columns: dict[str, Any] = {"box": box, "width_px": width, "height_px": height, **camera_of(row, published)}
    columns["label_kind"] = published.label_kind
    if published.name == "mpi-inf-3dhp":
        return columns | _named_joints(row, published, agreed) | {"crop_rule": "box"}
    for key in (published.joints, published.human36m):
        if key in agreed.present:
            entry(row, key)
    pixels = next((key for key in published.pixels if row.get(key) is not None), None)
    if pixels is not None:
        marked = points(row[pixels], pixels, (SMPL_JOINTS, JOINTS), (2, 3))[:, :2]
        check_box_points(np.array(box), marked, (width, height))
        columns["pixels"] = _padded(marked, published)
    valid = _validity(row)
    if valid is False:
        return columns | {"label_kind": None}
    columns |= _body(row, published, agreed)
    joints = joints_of(row, published.joints)
    if joints is not None:
        joints = joints * agreed.units[published.joints]
        labelled = joints if valid is True else np.where(valid[: len(joints), None], joints, np.nan)
        columns |= {"joints": _padded(labelled, published), "joints_by": BY_BODY}
    if "transl" not in columns:
        columns["root"] = _root(row, joints)
    if row.get(published.human36m) is not None:
        seventeen = points(row[published.human36m], published.human36m, (HUMAN36M_COUNT,), (3,))
        columns["human36m"] = vector(seventeen * agreed.units[published.human36m])
    if row.get("angle_twist"):
        columns["twist"] = _twist(table(row["angle_twist"], "angle_twist"))
    return columns


def _root(row: Mapping[str, Any], joints_m: NDArray[np.float64] | None) -> NDArray[np.float32] | None:
    """(3,) metres: joint 0, or without joints in the camera frame what root_coord says; None where nothing does."""
    if joints_m is not None and not root_relative(joints_m):
        return vector(joints_m[0])
    return vector(numbers(row["root_coord"], "root_coord", 3) / 1000) if row.get("root_coord") is not None else None


def joints_of(row: Mapping[str, Any], key: str) -> NDArray[np.float64] | None:
    """The 3D joints as the file has them (24 or 29, 3), None where it has none."""
    return None if row.get(key) is None else points(row[key], key, (SMPL_JOINTS, JOINTS), (3,))


def picture_path(row: Mapping[str, Any], published: PublishedSet, folder: str) -> str:
    """Where the picture is below the root. Raises RefusedError where a part of the path is missing."""
    return posixpath.join(folder, *(json_rows.text(entry(row, key), key) for key in published.path))


def camera_of(row: Mapping[str, Any], published: PublishedSet) -> dict[str, float]:
    """fx, fy, cx, cy, pixels."""
    focal, centre = _dig(row, published.focal), _dig(row, published.centre)
    if published.name != "mpi-inf-3dhp":
        return json_rows.camera(focal, centre)
    if not isinstance(focal, list) or len(focal) not in (3, 4):
        raise RefusedError(UNREADABLE, f"intrinsic_param is {shown(focal)}, 3 rows of 4 numbers are expected")
    matrix = np.stack([numbers(line, "a row of intrinsic_param", 3, at_least=True) for line in focal[:3]])
    return json_rows.camera([matrix[0, 0], matrix[1, 1]], [matrix[0, 2], matrix[1, 2]])


def frame_of(row: Mapping[str, Any], published: PublishedSet, number: int) -> int:
    """What --every counts: Human3.6M's frame, from frame_idx or the last digits of the file's name; else the row."""
    if published.name != "human36m":
        return number
    index = row.get("frame_idx")
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 2**31:
        return index
    name = row.get("file_name")
    digits = re.search(r"(\d{1,9})\D*$", name.rsplit("/", 1)[-1][-200:]) if isinstance(name, str) else None
    return int(digits[1]) if digits else number


def _dig(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys[:-1]:
        row = table(entry(row, key), key)
    return entry(row, keys[-1])


def _padded(values: NDArray[np.float64], published: PublishedSet) -> NDArray[np.float32]:
    """24 or 29 points as 29, the leaves NaN where they are not labelled."""
    count = SMPL_JOINTS if published.without_leaves else len(values)
    return placed(values[:count], {joint: joint for joint in range(count)}, JOINTS)


def _named_joints(row: Mapping[str, Any], published: PublishedSet, agreed: Agreed) -> dict[str, Any]:
    key = published.joints
    values = points(entry(row, key), key, tuple(MPI_INF_3DHP), (3,)) * agreed.units[key]
    for_29, for_17 = MPI_INF_3DHP[len(values)]
    return {
        "joints": vector(converted(values, for_29, JOINTS_29)),
        "joints_by": BY_NAMES,
        "human36m": vector(converted(values, for_17, HUMAN36M)),
    }


def parameters_of(row: Mapping[str, Any], published: PublishedSet) -> tuple[Mapping[str, Any], str, str]:
    """The object that has the body's parameters, and its keys of pose and shape."""
    if published.name == "human36m":
        return row, "thetas", "betas"
    return table(entry(row, "smpl_param"), "smpl_param"), "pose", "shape"


def _body(row: Mapping[str, Any], published: PublishedSet, agreed: Agreed) -> dict[str, Any]:
    parameters, pose_key, shape_key = parameters_of(row, published)
    pose, shape = entry(parameters, pose_key), entry(parameters, shape_key)
    trans = None
    if agreed.transl is not None and parameters is not row:
        trans = entry(parameters, "trans") if "trans" in agreed.present else parameters.get("trans")
    pose = numbers(pose, "the pose", 3 * SMPL_JOINTS)
    body = {
        "body_model": "smpl",
        "gender": json_rows.gender(parameters.get("gender")),
        "global_orient": vector(pose[:3]),
        "body_pose": vector(pose[3:]),
        "betas": vector(numbers(shape, "the shape", BETAS, at_least=True)),
    }
    if trans is not None and agreed.transl is not None:
        body["transl"] = vector(numbers(trans, "trans", 3) * agreed.transl)
    return body


def _validity(row: Mapping[str, Any]) -> bool | NDArray[np.bool_]:
    """What joint_cam_valid says: of the whole person, or of each of 29 joints (of the last five: valid, if nothing)."""
    value = row.get("joint_cam_valid")
    if not isinstance(value, list):
        return value is None or bool(value)
    if len(value) == 1:
        return bool(numbers(value, "joint_cam_valid", 1, at_least=True)[0] > 0)
    each = points(value, "joint_cam_valid", (HUMAN36M_COUNT, SMPL_JOINTS, JOINTS), (1, 3)).min(1) > 0
    if len(each) == HUMAN36M_COUNT:  # of the 17, and so of the label as a whole
        return bool(each.any())
    return np.concatenate([each, np.ones(JOINTS - len(each), bool)])


def _twist(twists: Mapping[str, Any]) -> NDArray[np.float32]:
    angle = numbers(entry(twists, "angle"), "angle_twist.angle", TWISTS)
    cosine = numbers(twists["cos"], "angle_twist.cos", TWISTS) if twists.get("cos") is not None else np.cos(angle)
    sine = numbers(twists["sin"], "angle_twist.sin", TWISTS) if twists.get("sin") is not None else np.sin(angle)
    twist = np.stack([cosine, sine], -1)
    twist[angle <= NO_TWIST_BELOW] = np.nan
    return vector(twist)
