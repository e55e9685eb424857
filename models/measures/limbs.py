"""Measures of the limbs: which end of a limb is nearer to the camera, and how far parts of the body are off."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.measures import MM_PER_M
from models.skeleton import JOINT_NAMES

Floats = NDArray[np.float64]


def _numbers(*names: str) -> tuple[int, ...]:
    """Joints by name; `*` in front stands for both sides."""
    found: list[int] = []
    for name in names:
        sides = [f"left_{name[1:]}", f"right_{name[1:]}"] if name.startswith("*") else [name]
        found += [JOINT_NAMES.index(side) for side in sides]
    return tuple(found)


LIMBS: Final[tuple[tuple[int, int], ...]] = tuple(
    (JOINT_NAMES.index(f"{side}_{near}"), JOINT_NAMES.index(f"{side}_{far}"))
    for near, far in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
    for side in ("left", "right")
)
"""Thighs, shanks, upper arms, forearms: those that a picture can show the wrong way round in depth."""
CLEAR_M: Final = 0.12
"""Ends of a limb that differ by less in depth have no order that a picture could get wrong."""

PARTS: Final[dict[str, tuple[int, ...]]] = {
    "torso": _numbers("*hip", "spine1", "spine2", "spine3", "neck", "*collar"),
    "head": _numbers("head", "head_top"),
    "arms": _numbers("*shoulder", "*elbow"),
    "hands": _numbers("*wrist", "*hand", "*middle_finger_tip"),
    "legs": _numbers("*knee"),
    "feet": _numbers("*ankle", "*foot", "*big_toe"),
}
"""All joints but the pelvis, which is the origin."""


def right_in_depth(joints: Floats, truth: Floats) -> Floats:
    """(N, M, 8) whether the ends of each limb are in the right order of depth: 1, 0, or nan where it is not clear.

    joints (N, M, 29, 3) and truth (N, 29, 3) in metres, z away from the camera.
    """
    near, far = ([limb[end] for limb in LIMBS] for end in (0, 1))
    deeper = truth[:, far, 2] - truth[:, near, 2]
    same = (joints[..., far, 2] - joints[..., near, 2] > 0) == (deeper > 0)[:, None]
    return np.where((np.abs(deeper) > CLEAR_M)[:, None], same.astype(np.float64), np.nan)


def depth_order(right: Floats) -> Floats:
    """(N,) share of limbs and samples that are right, of (N, M, L) as of `right_in_depth`; nan if no limb is clear."""
    return _mean(right.reshape(len(right), -1))


def depth_mode(right: Floats) -> Floats:
    """(N,) share of samples of which all clear limbs are right; nan where no limb is clear."""
    clear = ~np.isnan(right[:, 0]).all(axis=-1)
    whole = np.where(np.isnan(right), 1.0, right).min(axis=-1).mean(axis=-1)
    return np.where(clear, whole, np.nan)


def joint_errors_mm(joints: Floats, truth: Floats) -> Floats:
    """(N, M, J) distance of joints (N, M, J, 3) m from the truth (N, J, 3) m, both relative to the pelvis."""
    between = (joints - joints[..., :1, :]) - (truth - truth[:, :1])[:, None]
    errors: Floats = np.sqrt(np.square(between).sum(axis=-1)) * MM_PER_M
    return errors


def over_joints(errors: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """(N, M) mean error of the joints that are `chosen` (N, J) of each person; nan where none is. errors: (N, M, J)."""
    count = chosen.sum(axis=-1)[:, None]
    total = np.where(chosen[:, None], errors, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _mean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    count, total = known.sum(axis=-1), np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
