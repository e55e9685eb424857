"""The synthetic body of the fixtures in SMPL's format, made again by its rule."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bodies import Body, load_body
from models.body_arrays import SMPL_LEAF_VERTICES, SMPL_VERTICES
from models.skeleton import LEAF_PARENTS, SMPL_JOINTS, SMPL_PARENTS
from tests.parity.rules import rng

Floats = NDArray[np.float64]

_JOINTS = (
    *((0.0, -0.22, 0.03), (0.06, -0.31, 0.02), (-0.06, -0.31, 0.02), (0.0, -0.11, 0.0), (0.1, -0.69, 0.02)),
    *((-0.1, -0.69, 0.02), (0.01, 0.03, 0.0), (0.09, -1.09, -0.02), (-0.09, -1.09, -0.02), (0.0, 0.08, 0.03)),
    *((0.12, -1.15, 0.1), (-0.12, -1.15, 0.1), (0.0, 0.29, -0.01), (0.08, 0.2, -0.01), (-0.08, 0.2, -0.01)),
    *((0.01, 0.38, 0.04), (0.18, 0.23, -0.02), (-0.18, 0.23, -0.02), (0.44, 0.22, -0.04), (-0.44, 0.22, -0.04)),
    *((0.69, 0.23, -0.04), (-0.69, 0.23, -0.04), (0.77, 0.22, -0.05), (-0.77, 0.22, -0.05)),
)
_LEAF_OFFSETS = ((0, 0.14, 0.02), (0.09, 0, 0), (-0.09, 0, 0), (0.02, -0.02, 0.11), (-0.02, -0.02, 0.11))
_HUMAN36M_OF_SMPL = (
    *([0], [2], [5], [8], [1], [4], [7], [3, 6], [9, 12], [12, 15], [15], [16], [18], [20], [17], [19], [21]),
)


def _owners() -> NDArray[np.int64]:
    """The joint that each vertex belongs to."""
    joint = np.arange(SMPL_VERTICES) % SMPL_JOINTS
    joint[list(SMPL_LEAF_VERTICES)] = LEAF_PARENTS
    return joint


@cache
def arrays() -> dict[str, NDArray[np.generic]]:
    """The keys of an SMPL file, float64 as in the published ones."""
    count, leaves = SMPL_VERTICES, list(SMPL_LEAF_VERTICES)
    every, joint, places = np.arange(count), _owners(), np.array(_JOINTS)
    template = places[joint] + 0.06 * rng("smpl:v_template").standard_normal((count, 3))
    template[leaves] = places[list(LEAF_PARENTS)] + np.array(_LEAF_OFFSETS)
    shapes = 0.01 * rng("smpl:shape_joint").standard_normal((SMPL_JOINTS, 3, 10))[joint]
    shapes += 0.002 * rng("smpl:shape_vert").standard_normal((count, 3, 10))
    pose_shapes = 0.0005 * rng("smpl:posedirs").standard_normal((count, 3, 207))
    pose_shapes[leaves] = 0
    regressor = np.zeros((SMPL_JOINTS, count))
    regressor[joint, every] = np.abs(rng("smpl:J_regressor").standard_normal(count)) + 0.1
    regressor /= regressor.sum(1, keepdims=True)
    share = 0.5 + 0.5 * rng("smpl:weights").random(count)
    share[leaves] = 1
    weights = np.zeros((count, SMPL_JOINTS))
    weights[every, joint] = share
    parents = np.array((0, *SMPL_PARENTS[1:]))
    weights[every, parents[joint]] += 1 - share
    tree = np.stack([np.array((2**32 - 1, *SMPL_PARENTS[1:])), np.arange(SMPL_JOINTS)])
    return {
        "f": rng("smpl:f").integers(0, count, (13776, 3)).astype(np.uint32),
        "v_template": template,
        "shapedirs": shapes,
        "posedirs": pose_shapes,
        "J_regressor": regressor,
        "kintree_table": tree,
        "weights": weights,
    }


@cache
def human36m_regressor() -> Tensor:
    """(17, 6890) float32: the joints of Human3.6M from vertices."""
    drawn = np.abs(rng("smpl:J_regressor_h36m").standard_normal((17, SMPL_VERTICES))) + 0.1
    owners = _owners()
    mask = np.stack([np.isin(owners, joints) for joints in _HUMAN36M_OF_SMPL])
    drawn = drawn * mask
    return torch.from_numpy((drawn / drawn.sum(1, keepdims=True)).astype(np.float32))


def mean_betas() -> Floats:
    """(10,)"""
    return 0.1 * rng("smpl:h36m_mean_beta").standard_normal(10)


@cache
def body() -> Body:
    """The body, read from a file as a user's would be."""
    with TemporaryDirectory(prefix="smpl-") as folder:
        np.savez(Path(folder) / "SMPL_NEUTRAL.npz", **arrays())  # type: ignore[arg-type]
        return load_body(Path(folder) / "SMPL_NEUTRAL.npz")
