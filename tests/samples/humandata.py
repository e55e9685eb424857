"""Samples of HumanData: .npz files as mmhuman3d writes them, with SMPL or SMPL-X parameters or key-points alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.keypoints import HUMAN_DATA, JOINTS_29, names_of
from tests.samples.truth import TruePerson, write_pictures

BODIES: Final = ("smplx", "smpl", "smplh", "none")
# Points of Human3.6M that the 29 joints lack by name, and the joint that is nearest.
_NEARBY: Final = {
    "pelvis_extra": 0,
    "left_hip_extra": 1,
    "right_hip_extra": 2,
    "spine_extra": 6,
    "neck_extra": 12,
    "head_extra": 15,
    "headtop": 24,
}


def write_humandata(
    people: Sequence[TruePerson],
    folder: Path,
    *,
    body: str = "smpl",
    compressed: bool = True,
    meta: bool = True,
    name: str = "humandata.npz",
    dataset: str = "humandata",
    split: str = "train",
    per_metre: float = 1.0,
) -> AnnotationSource:
    """Write pictures and one .npz into `folder`, and return the source that reads them.

    `body`: smplx, smpl, smplh, or none (key-points alone). `compressed`: key-points hold only the columns that the mask
    calls valid. `meta`: with picture sizes and cameras. `per_metre`: 1000 writes the 3D key-points in millimetres.
    """
    paths = [f"images/{person.index:06d}.jpg" for person in people]
    write_pictures(people, folder, paths)
    np.savez_compressed(folder / name, **members(people, paths, body, compressed, meta, per_metre))
    return AnnotationSource("humandata", str(folder / name), dataset, split)


def members(
    people: Sequence[TruePerson], paths: Sequence[str], body: str, compressed: bool, meta: bool, per_metre: float = 1.0
) -> dict[str, Any]:
    """The members of the .npz, by name."""
    if body not in BODIES:
        raise ValueError(f"body is one of {', '.join(BODIES)}, not {body!r}")
    ending = f"_{body}" if body in ("smplx", "smpl") else ""
    joints = np.stack([person.label.joints for person in people]) * per_metre
    pixels = np.stack([person.pixels for person in people])
    sure = np.ones((len(people), 1))
    made: dict[str, Any] = {
        "image_path": np.array(paths),
        "bbox_xywh": np.hstack([np.stack([person.box for person in people]), sure]).astype(np.float32),
        "__data_len__": len(people),
        "__keypoints_compressed__": compressed,
    }
    for key, points in ((f"keypoints2d{ending}", pixels), (f"keypoints3d{ending}", joints)):
        values, mask = _in_190(points)
        made[key] = values[:, mask > 0] if compressed else values
        made[f"{key}_mask"] = mask
    if body != "none":
        made[body] = _parameters(people, body)
    if meta:
        cameras = np.stack([person.intrinsics for person in people])
        made["meta"] = {
            "height": [person.height for person in people],
            "width": [person.width for person in people],
            "focal_length": cameras[:, :2],
            "principal_point": cameras[:, 2:],
        }
    return made


def hands(person: TruePerson) -> NDArray[np.float32]:
    """(2, 15, 3) axis-angle of the left and the right hand that a sample gives this person: made up, and small."""
    return np.random.default_rng(person.index).normal(0, 0.2, (2, 15, 3)).astype(np.float32)


def _in_190(points: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The 29 joints (N, 29, D) in the 190 columns, with confidence (N, 190, D + 1), and the mask (190,)."""
    names = names_of(HUMAN_DATA)
    values = np.zeros((len(points), len(names), points.shape[2] + 1), np.float32)
    mask = np.zeros(len(names), np.uint8)
    for joint, name in [*enumerate(names_of(JOINTS_29)), *((joint, name) for name, joint in _NEARBY.items())]:
        place = names.index(name)
        values[:, place, :-1], values[:, place, -1], mask[place] = points[:, joint], 1, 1
    return values, mask


def _parameters(people: Sequence[TruePerson], body: str) -> dict[str, Any]:
    def stacked(name: str) -> NDArray[np.float32]:
        return np.stack([getattr(person.label, name) for person in people]).astype(np.float32)

    count, joints = len(people), 23 if body == "smpl" else 21
    made: dict[str, Any] = {
        "global_orient": stacked("global_orient"),
        "body_pose": stacked("body_pose").reshape(count, 23, 3)[:, :joints],
        "betas": stacked("betas"),
        "transl": stacked("transl"),
        "gender": [person.label.gender for person in people],
    }
    if body != "smpl":
        both = np.stack([hands(person) for person in people])
        made |= {"left_hand_pose": both[:, 0], "right_hand_pose": both[:, 1]}
    if body == "smplx":
        made |= {"jaw_pose": np.zeros((count, 3), np.float32), "expression": np.zeros((count, 10), np.float32)}
    return made
