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
from tasks.ingest.formats.json_rows import UNREADABLE, entry, numbers, placed, points, shown, table, vector
from tasks.ingest.formats.scorehypo.sets import PublishedSet
from tasks.ingest.people.agreement import root_relative
from tasks.ingest.people.box_checks import check_box_points
from tasks.ingest.people.keypoints import BY_BODY, BY_NAMES, HUMAN36M, JOINTS_29, converted
from tasks.ingest.source.folder import RefusedError

HUMAN36M_COUNT: Final = 17
NO_TWIST_BELOW: Final = -10.0
"""An angle up to this marks a twist that is not known."""
EXCLUDED: Final = ("s_09_act_05_subact_02_ca", "s_09_act_10_subact_02_ca", "s_09_act_13_subact_01_ca")
"""Sequences of Human3.6M whose labels are known to be wrong; published evaluations leave them out."""

# The conventions of MPI-INF-3DHP's points, by their count: for the 29 joints, and for the 17, whose hips and pelvis
# are those of the markers. The published conversion calls the same points by both names.
MPI_INF_3DHP: Final = {28: ("hybrik_hp3d", "mpi_inf_3dhp"), 17: ("mpi_inf_3dhp_test", "mpi_inf_3dhp_test")}


@dataclass(frozen=True)
class Agreed:
    """What a look at a file's first rows settled for all of them."""

    present: frozenset[str] = frozenset()
    """Keys that are not in every set, but in most rows of this file: a row without one is refused."""
    units: Mapping[str, float] = field(default_factory=dict)
    """Factor to metres, by key."""
    corners: bool = False
    """Boxes are given by two corners."""
    transl: float | None = None
    """Factor to metres of smpl_param's trans; None: it is not what places the body in the camera frame."""
    folder: str = ""
    """Where the pictures are, below the root."""
    remarks: tuple[str, ...] = ()


def person(row: Mapping[str, Any], made: PublishedSet, agreed: Agreed) -> dict[str, Any]:
    """The columns of a row, without path and place. Raises RefusedError for one that can't be used."""
    _refuse_excluded(row, made)
    told: dict[str, Any] = {
        "box": json_rows.box(entry(row, "bbox"), agreed.corners),
        **json_rows.size(row),
        **camera_of(row, made),
        "label_kind": made.label_kind,
        "crop_rule": "joints",
        "crop_scale": made.crop_scale,
    }
    if made.name == "mpi-inf-3dhp":
        return told | _named_joints(row, made, agreed) | {"crop_rule": "box"}
    for key in (made.joints, made.human36m):
        if key in agreed.present:
            entry(row, key)
    pixels = next((key for key in made.pixels if row.get(key) is not None), None)
    if pixels is not None:
        seen = points(row[pixels], pixels, (SMPL_JOINTS, JOINTS), (2, 3))[:, :2]
        check_box_points(np.array(told["box"]), seen, (told.get("width_px"), told.get("height_px")))
        told["pixels"] = _padded(seen, made)
    valid = _validity(row)
    if valid is False:
        return told | {"label_kind": None}
    told |= _body(row, made, agreed)
    joints = joints_of(row, made.joints)
    if joints is not None:
        joints = joints * agreed.units[made.joints]
        if told.get("transl") is None:
            place = _root(row, joints)
            if place is not None:
                told["root"] = vector(place)
        joints = joints if valid is True else np.where(valid[: len(joints), None], joints, np.nan)
        told |= {"joints": _padded(joints, made), "joints_by": BY_BODY}
    elif told.get("transl") is None and row.get("root_coord") is not None:
        told["root"] = vector(numbers(row["root_coord"], "root_coord", 3) / 1000)
    if row.get(made.human36m) is not None:
        seventeen = points(row[made.human36m], made.human36m, (HUMAN36M_COUNT,), (3,))
        told["human36m"] = vector(seventeen * agreed.units[made.human36m])
    if row.get("angle_twist"):
        told["twist"] = _twist(table(row["angle_twist"], "angle_twist"))
    return told


def _root(row: Mapping[str, Any], joints: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """(3,) metres: joint 0, or of joints that are relative to it what root_coord says; None where nothing does."""
    if not root_relative(joints):
        return np.asarray(joints[0])
    return numbers(row["root_coord"], "root_coord", 3) / 1000 if row.get("root_coord") is not None else None


def joints_of(row: Mapping[str, Any], key: str) -> NDArray[np.float64] | None:
    """The 3D joints as the file gives them (24 or 29, 3), None where it gives none."""
    return None if row.get(key) is None else points(row[key], key, (SMPL_JOINTS, JOINTS), (3,))


def picture_path(row: Mapping[str, Any], made: PublishedSet, folder: str) -> str:
    """Where the picture is below the root. Raises RefusedError where a part of the path is missing."""
    return posixpath.join(folder, *(json_rows.text(entry(row, key), key) for key in made.path))


def camera_of(row: Mapping[str, Any], made: PublishedSet) -> dict[str, float]:
    """fx, fy, cx, cy, pixels."""
    focal, centre = _dig(row, made.focal), _dig(row, made.centre)
    if made.name != "mpi-inf-3dhp":
        return json_rows.camera(focal, centre)
    if not isinstance(focal, list) or len(focal) not in (3, 4):
        raise RefusedError(UNREADABLE, f"intrinsic_param is {shown(focal)}, 3 rows of 4 numbers are expected")
    matrix = np.stack([numbers(line, "a row of intrinsic_param", 3, at_least=True) for line in focal[:3]])
    return json_rows.camera([matrix[0, 0], matrix[1, 1]], [matrix[0, 2], matrix[1, 2]])


def frame_of(row: Mapping[str, Any], made: PublishedSet, number: int) -> int:
    """What --every counts: Human3.6M's frame, from frame_idx or the last digits of the file's name; else the row."""
    if made.name != "human36m":
        return number
    index = row.get("frame_idx")
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 2**31:
        return index
    name = row.get("file_name")
    digits = re.search(r"(\d{1,9})\D*$", name.rsplit("/", 1)[-1][-200:]) if isinstance(name, str) else None
    return int(digits[1]) if digits else number


def _refuse_excluded(row: Mapping[str, Any], made: PublishedSet) -> None:
    if made.name == "human36m":
        for sequence in EXCLUDED:
            if sequence in row["file_name"]:
                raise RefusedError("excluded sequence", f"published evaluations leave {sequence} out: its labels err")


def _dig(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys[:-1]:
        row = table(entry(row, key), key)
    return entry(row, keys[-1])


def _padded(values: NDArray[np.float64], made: PublishedSet) -> NDArray[np.float32]:
    """24 or 29 points as 29, the leaves NaN where they are not labelled."""
    count = SMPL_JOINTS if made.without_leaves else len(values)
    return placed(values[:count], {joint: joint for joint in range(count)}, JOINTS)


def _named_joints(row: Mapping[str, Any], made: PublishedSet, agreed: Agreed) -> dict[str, Any]:
    values = points(entry(row, made.joints), made.joints, tuple(MPI_INF_3DHP), (3,)) * agreed.units[made.joints]
    for_29, for_17 = MPI_INF_3DHP[len(values)]
    return {
        "joints": vector(converted(values, for_29, JOINTS_29)),
        "joints_by": BY_NAMES,
        "human36m": vector(converted(values, for_17, HUMAN36M)),
    }


def _body(row: Mapping[str, Any], made: PublishedSet, agreed: Agreed) -> dict[str, Any]:
    if made.name == "human36m":
        pose, shape, sex, trans = entry(row, "thetas"), entry(row, "betas"), row.get("gender"), None
    else:
        given = table(entry(row, "smpl_param"), "smpl_param")
        pose, shape, sex = entry(given, "pose"), entry(given, "shape"), given.get("gender")
        trans = given.get("trans") if agreed.transl is not None else None
        if agreed.transl is not None and "trans" in agreed.present:
            entry(given, "trans")
    pose = numbers(pose, "the pose", 3 * SMPL_JOINTS)
    told = {
        "body_model": "smpl",
        "gender": json_rows.gender(sex),
        "global_orient": vector(pose[:3]),
        "body_pose": vector(pose[3:]),
        "betas": vector(numbers(shape, "the shape", BETAS, at_least=True)),
    }
    if trans is not None and agreed.transl is not None:
        told["transl"] = vector(numbers(trans, "trans", 3) * agreed.transl)
    return told


def _validity(row: Mapping[str, Any]) -> bool | NDArray[np.bool_]:
    """What joint_cam_valid says: of the whole person, or of each of 29 joints (not said of the last five: as known)."""
    given = row.get("joint_cam_valid")
    if not isinstance(given, list):
        return given is None or bool(given)
    flags = numbers(given, "joint_cam_valid", 1, at_least=True) if len(given) == 1 else None
    if flags is not None:
        return bool(flags[0] > 0)
    each = points(given, "joint_cam_valid", (HUMAN36M_COUNT, SMPL_JOINTS, JOINTS), (1, 3)).min(1) > 0
    if len(each) == HUMAN36M_COUNT:  # of the 17, and so of the label as a whole
        return bool(each.any())
    return np.concatenate([each, np.ones(JOINTS - len(each), bool)])


def _twist(given: Mapping[str, Any]) -> NDArray[np.float32]:
    angle = numbers(entry(given, "angle"), "angle_twist.angle", TWISTS)
    cosine = numbers(given["cos"], "angle_twist.cos", TWISTS) if given.get("cos") is not None else np.cos(angle)
    sine = numbers(given["sin"], "angle_twist.sin", TWISTS) if given.get("sin") is not None else np.sin(angle)
    twist = np.stack([cosine, sine], -1)
    twist[angle <= NO_TWIST_BELOW] = np.nan
    return vector(twist)
