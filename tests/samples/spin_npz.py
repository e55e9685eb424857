"""Samples of SPIN's npz files, in its names or in those of 4D-Humans."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.keypoints import JOINTS_29, names_of
from tests.samples.truth import TruePerson, write_pictures

_NEAREST: Final = {
    "pelvis_extra": 0,
    "left_hip_extra": 1,
    "right_hip_extra": 2,
    "spine_extra": 6,
    "neck_extra": 12,
    "thorax_extra": 12,
    "jaw_extra": 15,
    "head_extra": 15,
    "headtop": 24,
}
"""Joints among the 29 that stand for points which they lack by name."""
_SPIN, _HMR2 = "spin", "hmr2"


def write_spin_npz(
    people: Sequence[TruePerson],
    folder: Path,
    *,
    names: str = _SPIN,
    body: bool = True,
    points: bool = True,
    joints: bool = False,
    name: str = "people.npz",
    dataset: str = "people",
    split: str = "test",
) -> AnnotationSource:
    """Write pictures (images/) and one .npz into `folder`, and return the source that reads them.

    `names`: spin, or hmr2 for those of 4D-Humans. With the SMPL parameters (`body`), 2D key-points (`points`) and 3D
    joints from the root on (`joints`).
    """
    paths = [f"images/{person.index:06d}.jpg" for person in people]
    write_pictures(people, folder, paths)
    np.savez(folder / name, **members(people, paths, names, body, points, joints))
    return AnnotationSource("spin-npz", str(folder / name), dataset, split)


def members(
    people: Sequence[TruePerson], paths: Sequence[str], names: str, body: bool, points: bool, joints: bool
) -> dict[str, Any]:
    """The members of the .npz, by name."""
    centres, sides = squares(people)
    poses = np.stack([np.concatenate([one.label.global_orient, one.label.body_pose]) for one in people])
    betas = np.stack([one.label.betas for one in people])
    pixels = in_own_order(np.stack([one.pixels for one in people]))
    solid = in_own_order(np.stack([one.label.joints - one.label.joints[0] for one in people]))
    sure, count = np.ones(len(people)), 24 if names == _SPIN else 19
    made: dict[str, Any] = {"imgname": np.array(paths), "center": centres, "scale": sides / 200}
    if names == _HMR2:
        made |= {"center": centres[:, None], "scale": sides[:, None]}
    if body and names == _SPIN:
        made |= {"pose": poses, "shape": betas, "gender": np.array([one.label.gender[0] for one in people])}
    elif body:
        made |= {"body_pose": poses, "betas": betas, "has_body_pose": sure, "has_betas": sure}
    if points:
        made |= {"part" if names == _SPIN else "extra_keypoints_2d": pixels[:, :count]}
    if joints:
        made |= {"S" if names == _SPIN else "extra_keypoints_3d": solid[:, :count]}
    return made


def squares(people: Sequence[TruePerson]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (N, 2) and sides (N,) in pixels of squares that are 1.2 times as large as the box around the joints."""
    seen = np.stack([person.pixels[:24] for person in people])
    low, high = seen.min(1), seen.max(1)
    return (low + high) / 2, 1.2 * (high - low).max(1)


def in_own_order(points: NDArray[Any]) -> NDArray[np.float64]:
    """The 29 joints (N, 29, D) as SPIN's 24 points with confidence (N, 24, D + 1); it is 0 for those of the face."""
    own = names_of("smpl_24")
    joints = {name: joint for joint, name in enumerate(names_of(JOINTS_29))} | _NEAREST
    values = np.zeros((len(points), len(own), points.shape[2] + 1))
    for place, name in enumerate(own):
        if name in joints:
            values[:, place, :-1], values[:, place, -1] = points[:, joints[name]], 1
    return values
