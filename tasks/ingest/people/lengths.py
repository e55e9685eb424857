"""Bone lengths of labelled joints: they distinguish metres from millimetres, and a person from numbers that are none.

Projection can't do that where joints are absolute in the camera frame (x/z is the same in both units), and published
files of one data set differ in it. No thigh is 400 m long, though, or 0.4 mm.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError


class Bone(NamedTuple):
    """A bone between two joints, and the length that it has in an adult of middle height."""

    start: int
    end: int
    usual_m: float


_THIGH, _SHIN, _UPPER_ARM, _FOREARM = 0.40, 0.41, 0.27, 0.25


def limbs(*chains: tuple[int, int, int], arms: Sequence[tuple[int, int, int]] = ()) -> tuple[Bone, ...]:
    """Bones of legs (hip, knee, ankle) and arms (shoulder, elbow, wrist), each given as three joints."""
    legs = [bone for a, b, c in chains for bone in (Bone(a, b, _THIGH), Bone(b, c, _SHIN))]
    return (*legs, *(bone for a, b, c in arms for bone in (Bone(a, b, _UPPER_ARM), Bone(b, c, _FOREARM))))


SMPL_BONES: Final = limbs((1, 4, 7), (2, 5, 8), arms=((16, 18, 20), (17, 19, 21)))
"""In the first 24 joints of `models.skeleton`."""
HUMAN36M_BONES: Final = limbs((1, 2, 3), (4, 5, 6), arms=((11, 12, 13), (14, 15, 16)))
"""In the 17 of Human3.6M; left and right are equally long, so it doesn't matter which leg comes first."""
MPI_INF_3DHP_BONES: Final = limbs((18, 19, 20), (23, 24, 25), arms=((9, 10, 11), (14, 15, 16)))
"""In the 28 of MPI-INF-3DHP's training files."""

_BY_COUNT: Final = {17: HUMAN36M_BONES, 24: SMPL_BONES, 28: MPI_INF_3DHP_BONES, 29: SMPL_BONES}
# As multiples of the usual length: a small child's bones are half as long, and labels are not exact.
_SHORTEST, _LONGEST = 0.3, 2.5


def unit_of(joints: NDArray[Any], where: str, bones: Sequence[Bone] | None = None) -> float:
    """The factor from the unit of `joints` (N, J, 3) to metres: 1.0 (metres) or 0.001 (millimetres).

    `bones` are those to go by; None: the arms and legs of the 24 or 29 joints of `models.skeleton`, Human3.6M's 17 or
    MPI-INF-3DHP's 28. The median over rows and bones decides, so that odd rows don't matter; joints that are NaN and
    bones of length 0 don't count. A sample of rows is enough. Raises DataError where neither unit gives a person, or
    no row has a bone; `where` names the file and the key there.
    """
    ratios = _ratios(joints, bones)
    usable = ratios[np.isfinite(ratios) & (ratios > 0)]
    if not usable.size:
        raise DataError(
            f"{where}: no row has both ends of an arm's or leg's bone, so that nothing says whether lengths are in "
            "metres or millimetres. Check that the key holds 3D joints in the expected order."
        )
    middle = float(np.median(usable))
    for factor in (1.0, 0.001):
        if _SHORTEST <= middle * factor <= _LONGEST:
            return factor
    raise DataError(
        f"{where}: arms and legs are {middle:.3g} times as long as a person's if lengths are in metres, and "
        f"{middle / 1000:.3g} times if they are in millimetres. Convert the file to one of the two (and check that the "
        "joints are in the expected order)."
    )


def bone_lengths_human(joints_m: NDArray[Any], bones: Sequence[Bone] | None = None) -> NDArray[np.bool_]:
    """Whether each row's arms and legs have a human's lengths (N,), for joints (N, J, 3) in metres; `bones` as above.

    The range is wide (from a third to two and a half times an adult's): it catches wrong units and rows that are no
    person, not odd bodies. Bones with an end that is NaN don't count, so a row without any joint passes.
    """
    ratios = _ratios(joints_m, bones)
    return np.asarray((np.isnan(ratios) | ((ratios >= _SHORTEST) & (ratios <= _LONGEST))).all(1))


def _ratios(joints: NDArray[Any], bones: Sequence[Bone] | None) -> NDArray[np.float64]:
    """Lengths of bones over their usual lengths (N, bones), NaN where an end is."""
    values = np.asarray(joints, np.float64)
    if values.ndim != 3 or values.shape[2] != 3:
        raise ValueError(f"joints of shape (N, J, 3) are needed, not {values.shape}")
    if bones is None:
        bones = _BY_COUNT[values.shape[1]]
    starts, ends = [bone.start for bone in bones], [bone.end for bone in bones]
    # an infinite end makes a bone infinite, also where both are
    unknown = np.isnan(values[:, starts]).any(2) | np.isnan(values[:, ends]).any(2)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(values[:, ends] - values[:, starts], axis=2)
    lengths[np.isnan(lengths)] = np.inf
    lengths[unknown] = np.nan
    return lengths / np.array([bone.usual_m for bone in bones])
