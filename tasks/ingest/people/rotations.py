"""Rotation matrices as axis-angles, as far as they are rotations."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

IMPOSSIBLE_POSE: Final = "impossible pose"
"""Reason of rows with a matrix that is no rotation."""
IN_MATRIX: Final = 3
"""Numbers of a rotation matrix over those of an axis-angle."""
SIX_D: Final = 2
"""The same of the 6D form of networks, which is not read."""
_ERROR: Final = 1e-2
"""By which the rows of a rotation matrix may miss unit length and right angles."""


def axis_angles(matrices: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Axis-angles (..., 3) of matrices (..., 3, 3), and which of them are rotations (...); of the others they are 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(matrices @ np.swapaxes(matrices, -1, -2) - np.eye(3)).max((-1, -2))
        proper = (off <= _ERROR) & (np.linalg.det(np.nan_to_num(matrices)) > 0)
    whole = np.where(proper[..., None, None], matrices, np.eye(3)).reshape(-1, 3, 3)
    return np.asarray(Rotation.from_matrix(whole).as_rotvec()).reshape(*proper.shape, 3), proper
