"""A body as capsules around its bones: what of it runs into itself, and what of it hides behind it. A proxy for meshes.

Radii are those of a slim adult, the same for all betas, and smaller than flesh: parts may touch, and what is reported
is what hardly any body does.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.measures import MM_PER_M
from models.skeleton import JOINT_NAMES, PARENTS

Floats = NDArray[np.float64]

_SIDED: Final = (
    ("hip", "knee", 0.06),
    ("knee", "ankle", 0.045),
    ("ankle", "foot", 0.035),
    ("shoulder", "elbow", 0.04),
    ("elbow", "wrist", 0.035),
    ("wrist", "hand", 0.03),
)
_MIDDLE: Final = (("pelvis", "spine2", 0.09), ("spine2", "neck", 0.09), ("head", "head_top", 0.07))
_NEIGHBOURS: Final = 2
"""Joints apart along the skeleton at which two capsules still belong together, and may lie in each other."""


def _capsules() -> tuple[tuple[int, int, float], ...]:
    sided = [(f"{side}_{a}", f"{side}_{b}", radius) for side in ("left", "right") for a, b, radius in _SIDED]
    return tuple((JOINT_NAMES.index(a), JOINT_NAMES.index(b), radius) for a, b, radius in [*_MIDDLE, *sided])


CAPSULES: Final = _capsules()
"""From joint to joint, with a radius in metres."""


def _steps(first: int, second: int) -> int:
    """How many bones lie between two joints."""

    def line(joint: int) -> list[int]:
        return [joint] if joint == 0 else [joint, *line(PARENTS[joint])]

    one, other = line(first), line(second)
    shared = len(set(one) & set(other))
    return len(one) + len(other) - 2 * shared


_ENDS: Final = [list(capsule[:2]) for capsule in CAPSULES]
PAIRS: Final[tuple[tuple[int, int], ...]] = tuple(
    (one, other)
    for one in range(len(CAPSULES))
    for other in range(one + 1, len(CAPSULES))
    if min(_steps(a, b) for a in _ENDS[one] for b in _ENDS[other]) > _NEIGHBOURS
)
"""Capsules that have no business in each other."""


def penetration_mm(joints: Floats) -> Floats:
    """(...,) how deep the two capsules lie in each other that do so most; 0 where none do. joints: (..., 29, 3) m."""
    deepest = np.zeros(joints.shape[:-2])
    for one, other in PAIRS:
        (a, b, thick), (c, d, thin) = CAPSULES[one], CAPSULES[other]
        apart = segment_distance(joints[..., a, :], joints[..., b, :], joints[..., c, :], joints[..., d, :])
        deepest = np.maximum(deepest, thick + thin - apart)
    deep: Floats = deepest * MM_PER_M
    return deep


def behind_body(joints: Floats) -> NDArray[np.bool_]:
    """(N, 29) which joints another part of the same body hides from the camera at the origin. joints: (N, 29, 3) m."""
    hidden = np.zeros(joints.shape[:-1], bool)
    origin = np.zeros((len(joints), 3))
    for joint in range(joints.shape[-2]):
        for a, b, radius in CAPSULES:
            if min(_steps(joint, a), _steps(joint, b)) <= _NEIGHBOURS:
                continue
            apart = segment_distance(origin, joints[:, joint], joints[:, a], joints[:, b])
            hidden[:, joint] |= apart < radius
    return hidden


def segment_distance(start: Floats, end: Floats, other_start: Floats, other_end: Floats) -> Floats:
    """(...,) least distance of two segments, ends (..., 3) (Ericson, Real-Time Collision Detection, 2005, 5.1.9)."""
    along, across, between = end - start, other_end - other_start, start - other_start
    a, e, b = _dot(along, along), _dot(across, across), _dot(along, across)
    c, f = _dot(along, between), _dot(across, between)
    tiny = 1e-12
    determinant = a * e - b * b
    share = np.where(determinant > tiny, (b * f - c * e) / np.maximum(determinant, tiny), 0.0).clip(0, 1)
    other = (b * share + f) / np.maximum(e, tiny)
    # where the other's nearest point lies beyond one of its ends, that end counts, and this one's is sought again
    share = np.where((other < 0) | (other > 1), (b * other.clip(0, 1) - c) / np.maximum(a, tiny), share).clip(0, 1)
    other = ((b * share + f) / np.maximum(e, tiny)).clip(0, 1)
    nearest = between + share[..., None] * along - other[..., None] * across
    distance: Floats = np.sqrt(_dot(nearest, nearest))
    return distance


def _dot(first: Floats, second: Floats) -> Floats:
    product: Floats = (first * second).sum(axis=-1)
    return product
