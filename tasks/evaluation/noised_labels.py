"""Hypotheses that are labels with noise, of which the errors are known exactly: scorers are trained and tested on them.

Every joint of the body, the root included, is turned by a random rotation vector, and betas and expression move; the
pelvis stays, and so do the hands. How much, `LabelNoiseConfig` says, times the level of the hypothesis. The noise is
counter-based: it depends on the seed, the instance and the hypothesis's number alone.

Trainings take the published sigmas. In tests (`TESTED`) hypothesis k of M has the level k / (M - 1): number 0 is the
label itself, the last is the worst on average. How the published test files were noised is not known. Where such a file
is at hand, ingest it (format scorer-eval). Whether the published noise was added to rotation vectors or turned joints
on, as here, is not known either; at .05 radians that is nearly the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor

from infra.noise import standard_normal
from models.cameras import uvd_from_camera
from models.kinematics import twist_from_rotations
from models.metrics import mpvpe_mm, pa_mpvpe_mm
from models.smplx_body import BODY_JOINTS, COEFFICIENTS
from schemas.config.training import LabelNoiseConfig
from tasks.evaluation.bodies import SmplWithJoints, SmplxWithJoints, label_rotvec

ROTATION: Final = 0.2
"""Radians, at level 1 of tests."""
BETAS: Final = 0.5
"""Standard deviations of body shape, at level 1 of tests."""
TESTED: Final = LabelNoiseConfig(pose=ROTATION, root=ROTATION, shape=BETAS, expression=0.0)
PURPOSE: Final = "noised label"
_JOINTS, _BETAS = 24, 10
_NUMBERS: Final = _JOINTS * 3 + _BETAS + COEFFICIENTS


class NoisedLabel(NamedTuple):
    """M hypotheses of one instance, and how far each is from the label."""

    uvd: np.ndarray
    """(M, 29, 3) normalised."""
    twists: np.ndarray
    """(M, 23, 2)"""
    betas: np.ndarray
    """(M, 10)"""
    errors: Mapping[str, np.ndarray]
    """(M,) mm, by name: mpvpe, pa_mpvpe, and mpjpe and pa_mpjpe over the 14 joints of published evaluations."""


class _Bodies(NamedTuple):
    """M posed bodies at the origin; metres."""

    vertices: Tensor
    root: Tensor
    """(M, 3) the body model's own."""
    fourteen: Tensor
    joints: Tensor
    """(M, 29, 3) as a scorer is shown them."""
    rest: Tensor
    """(M, 29, 3)"""


@torch.no_grad()
def noised_label(
    name: str,
    label: Mapping[str, Any],
    body: SmplWithJoints | SmplxWithJoints,
    crop_intrinsics: np.ndarray,
    size: int,
    count: int,
    seed: int,
    *,
    by_names: bool = False,
    noise: LabelNoiseConfig = TESTED,
    levels: Sequence[float] | None = None,
    purpose: str = PURPOSE,
) -> NoisedLabel:
    """`count` hypotheses of the instance `name`, whose `label` (a row of the table, its pelvis known) `body` poses.

    Args:
        crop_intrinsics: (4,) crop pixels; size: side of the crop in pixels.
        levels: (count,) factors on the `noise` of each; evenly from 0 to 1 if None.
        purpose: sets streams of noise apart.
        by_names: of an SMPL-X body, take the key-points with the names of the 29 joints and not those in their places.
            HMR-Scorer was trained so (`joint_sets.HYBRIK29_OF_SMPLX`).
    """
    normal = np.stack([standard_normal(seed, name, k, (_NUMBERS,), purpose) for k in range(count)])
    level = torch.linspace(0, 1, count) if levels is None else torch.tensor(levels, dtype=torch.float32)
    rotations, betas, face = _noised(label, torch.from_numpy(normal) * level[:, None], noise)
    if isinstance(body, SmplxWithJoints):
        # SMPL-X has no joints in the hands there
        rotations[:, BODY_JOINTS + 1 :] = torch.eye(3)
        posed = _smplx(body, label, rotations, betas, face, by_names)
    else:
        body.check(label)
        posed = _smpl(body, rotations, betas)
    pelvis = torch.tensor(label["joints"][:3], dtype=torch.float32)
    uvd, _ = uvd_from_camera(
        posed.joints - posed.joints[:, :1] + pelvis, torch.from_numpy(crop_intrinsics).expand(count, 4), size
    )
    truth = posed if levels is None else _truth(body, label, by_names)  # at level 0 the first is the label
    label_vertices, label_root, label_joints = (part[:1] for part in (truth.vertices, truth.root, truth.fourteen))
    errors = {
        "mpvpe": mpvpe_mm(posed.vertices, label_vertices, posed.root, label_root),
        "pa_mpvpe": pa_mpvpe_mm(posed.vertices, label_vertices),
        "mpjpe": mpvpe_mm(posed.fourteen, label_joints, posed.root, label_root),
        "pa_mpjpe": pa_mpvpe_mm(posed.fourteen, label_joints),
    }
    twists = twist_from_rotations(rotations, posed.rest)
    measured = {key: value.double().numpy() for key, value in errors.items()}
    return NoisedLabel(uvd.numpy(), twists.numpy(), betas.numpy(), measured)


def _noised(label: Mapping[str, Any], normal: Tensor, noise: LabelNoiseConfig) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rotations (M, 24, 3, 3), betas (M, 10), and the expression (M, 10) of a label that has one, of `normal` (M, 92)
    numbers."""
    rotations, shape, face = normal.split([_JOINTS * 3, _BETAS, COEFFICIENTS], dim=1)
    sigma = torch.tensor([noise.root] + [noise.pose] * (_JOINTS - 1))[:, None]
    turns = roma.rotvec_to_rotmat(sigma * rotations.unflatten(1, (_JOINTS, 3)))
    betas = torch.tensor(label["betas"], dtype=torch.float32) + noise.shape * shape
    expression = None
    if label["expression"] is not None:
        expression = torch.tensor(label["expression"], dtype=torch.float32) + noise.expression * face
    return roma.rotvec_to_rotmat(label_rotvec(label)) @ turns, betas, expression


def _truth(body: SmplWithJoints | SmplxWithJoints, label: Mapping[str, Any], by_names: bool) -> _Bodies:
    """The label's own body."""
    rotations, betas, face = _noised(label, torch.zeros(1, _NUMBERS), TESTED)
    if isinstance(body, SmplWithJoints):
        return _smpl(body, rotations, betas)
    rotations[:, BODY_JOINTS + 1 :] = torch.eye(3)
    return _smplx(body, label, rotations, betas, face, by_names)


def _smpl(body: SmplWithJoints, rotations: Tensor, betas: Tensor) -> _Bodies:
    posed = body.body(rotations, betas)
    rest = body.body.rest_joints(betas)
    return _Bodies(posed.vertices, posed.joints[:, 0], body.fourteen(posed), posed.joints, rest)


def _smplx(
    body: SmplxWithJoints,
    label: Mapping[str, Any],
    rotations: Tensor,
    betas: Tensor,
    expression: Tensor | None,
    by_names: bool,
) -> _Bodies:
    count = len(betas)

    def part(column: str) -> Tensor | None:
        return None if label[column] is None else torch.tensor(label[column], dtype=torch.float32).expand(count, -1)

    turns = roma.rotmat_to_rotvec(rotations)
    posed = body.body(
        turns[:, 0],
        turns[:, 1 : BODY_JOINTS + 1],
        betas,
        None,
        part("left_hand_pose"),
        part("right_hand_pose"),
        part("jaw_pose"),
        expression,
    )
    still = torch.zeros_like(turns)
    rest = body.body.joints29(body.body(still[:, 0], still[:, 1 : BODY_JOINTS + 1], betas))
    joints = posed.hybrik29 if by_names else body.body.joints29(posed)
    return _Bodies(posed.vertices, posed.keypoints[:, 0], body.regressor @ posed.vertices, joints, rest)
