"""Sets of joints that published labels and evaluations speak of, and how they follow from a mesh.

The 29 of the policy are in `models.skeleton`. Here: the 17 of Human3.6M, the 14 of them on which 3DPW and Human3.6M are
evaluated, and those of SMPL-X's 144 key-points that HMR-Scorer takes for the 29.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.body_files import read_array
from schemas.errors import DataError

HUMAN36M_JOINTS: Final[tuple[str, ...]] = (
    *("pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine", "neck"),
    *("nose", "head_top", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
)
"""Row order of the (17, V) regressor that published evaluations use: the right leg comes first, the left arm."""

EVALUATION_JOINTS: Final[tuple[int, ...]] = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
"""The 14 of the 17 that errors are averaged over: ankles up to hips, wrists up to shoulders, neck, head top."""

MIRROR_HUMAN36M: Final[tuple[int, ...]] = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)
"""Joint j of the mirrored person is joint MIRROR_HUMAN36M[j] of the person."""

HUMAN36M_OF_29: Final[tuple[int, ...]] = (0, 2, 5, 8, 1, 4, 7, 6, 12, 15, 24, 16, 18, 20, 17, 19, 21)
"""For each of the 17, the joint among the policy's 29 of the same name, or else the nearest: what stands for a
regressor where a body comes without one. Its numbers don't compare with those of a regressor."""

HYBRIK29_OF_SMPLX: Final[tuple[int, ...]] = (*range(15), 22, *range(16, 22), 66, 71, 15, 68, 73, 60, 63)
"""The key-points of SMPL-X with the names of the 29 joints, as HMR-Scorer is trained.

Names decide, not anatomy: the place of the head (15) holds SMPL-X's jaw, those of the hands (22, 23) its thumb tips,
and that of the head's top (24) its head. Published scorer weights expect it so.
"""


def load_regressor(path: str | Path, joints: int, vertices: int) -> Tensor:
    """The (joints, vertices) float32 matrix in a .npy or .pkl file, such as J_regressor_h36m.npy (17, 6890).

    Raises DataError where the file holds something else, or numbers that are not finite.
    """
    values = read_array(Path(path))
    if values.shape != (joints, vertices) or not np.issubdtype(values.dtype, np.floating):
        raise DataError(
            f"{path} holds {values.dtype} of shape {values.shape}, but a regressor of {joints} joints from {vertices} "
            "vertices is a matrix of that shape. Check that it belongs to this body model."
        )
    if not np.isfinite(values).all():
        raise DataError(f"{path} holds NaN or infinity, so it is no regressor: get the file again.")
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def regress(regressor: Tensor, vertices: Tensor) -> Tensor:
    """Joints (..., J, 3) of meshes (..., V, 3) by a regressor (J, V), in the unit of the vertices."""
    return regressor @ vertices
