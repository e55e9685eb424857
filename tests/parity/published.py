"""Conventions of the published pipelines that the engine has no use for: the fixtures speak in them.

Rotations as quaternions (w, x, y, z), turned crops, boxes by their corner pixels, flips that count pixels by their
centres, the moving average as a list without names, and the file of results.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import roma
import torch
from torch import Tensor, nn

from models import skeleton
from models.joint_sets import MIRROR_HUMAN36M
from models.kinematics import twist_from_rotations
from models.published_crops import CROP_PX
from models.published_metrics import published_columns

INPUT_SCALE = 50.0
"""The published policy sees uvd and twists times this."""


def quaternions_from_rotations(rotations: Tensor) -> Tensor:
    """Unit quaternions (..., 4) of rotations (..., 3, 3).

    q and -q are the same rotation. Which of the two is given follows the published conversion: the component that the
    square root is taken of is positive, and the signs of the diagonal decide which one that is.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in rotations.unbind(-2))
    # Four times the outer product of the quaternion with itself: each of its rows is the quaternion, scaled.
    outer = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, zy - yz, xz - zx, yx - xy], -1),
            torch.stack([zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx], -1),
            torch.stack([xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy], -1),
            torch.stack([yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    # Each choice has a component of at least one half, so no row is near zero.
    across = torch.where(xx > yy, 1, 2)
    along = torch.where(xx < -yy, 3, 0)
    row = torch.where(zz < 0, across, along)
    chosen = outer.gather(-2, row[..., None, None].expand(*row.shape, 1, 4))[..., 0, :]
    return torch.nn.functional.normalize(chosen, dim=-1)


def rotations_from_quaternions(quaternions: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of quaternions (..., 4) of any length but zero."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def swing_and_twist(rotations: Tensor, rest_joints: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (B, 24, 3, 3) as swing (B, 24, 3, 3) after twist (B, 23, 3, 3) about the rest bones (B, 29, 3).

    The root has no twist: its swing is its rotation.
    """
    joint = list(range(1, skeleton.SMPL_JOINTS))
    bone = rest_joints[:, [skeleton.TWIST_CHILD[j] for j in joint]] - rest_joints[:, joint]
    cosine, sine = twist_from_rotations(rotations, rest_joints).unbind(-1)
    axis = torch.nn.functional.normalize(bone, dim=-1)
    twist: Tensor = roma.rotvec_to_rotmat(axis * torch.atan2(sine, cosine)[..., None])
    return torch.cat([rotations[:, :1], rotations[:, 1:] @ twist.mT], 1), twist


def mirror_rotations(rotations: Tensor) -> Tensor:
    """Rotations (..., 24, 3, 3) of the mirrored person; her betas are the same on the bodies of this project."""
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=rotations.dtype)
    swapped = rotations[..., list(skeleton.MIRROR_JOINTS[: skeleton.SMPL_JOINTS]), :, :]
    return flip[:, None] * swapped * flip


def corners_of_box(box: Tensor) -> Tensor:
    """First and last pixel (..., 4) x0, y0, x1, y1 of boxes x, y, w, h (..., 4)."""
    return torch.cat([box[..., :2], box[..., :2] + box[..., 2:] - 1], -1)


def clip_corners(corners: Tensor, width: int, height: int) -> Tensor:
    """Corners (..., 4) moved into a picture of that many pixels."""
    last = corners.new_tensor([width - 1, height - 1, width - 1, height - 1])
    return corners.clamp_min(0).minimum(last)


def turned_crop_affine(centre: Tensor, side: Tensor, degrees: Tensor, size: int = CROP_PX) -> Tensor:
    """The map (..., 2, 3) from picture to crop of a square (centre (..., 2), side (...)) turned about its centre.

    By `degrees` (...), counter-clockwise as the picture is looked at, which training crops are turned by. Without a
    turn it is `cameras.crop_affine`.
    """
    angle = degrees * (math.pi / 180)
    scale = size / side
    along, across = scale * torch.cos(angle), scale * torch.sin(angle)
    turn = torch.stack([torch.stack([along, across], -1), torch.stack([-across, along], -1)], -2)
    shift = size / 2 - (turn @ centre[..., None])
    return torch.cat([turn, shift], -1)


def flip_pixels(joints: Tensor, width: int) -> Tensor:
    """Joints (..., 29, 2 or 3) of the picture, `width` pixels wide, flipped left to right; the rest as it is."""
    swapped = joints[..., list(skeleton.MIRROR_JOINTS), :]
    return torch.cat([width - 1 - swapped[..., :1], swapped[..., 1:]], -1)


def flip_human36m(joints: Tensor) -> Tensor:
    """The 17 joints (..., 17, 3) of the mirrored person, with the camera's axis as mirror."""
    swapped = joints[..., list(MIRROR_HUMAN36M), :]
    return torch.cat([-swapped[..., :1], swapped[..., 1:]], -1)


class PublishedAverage:
    """The average of a module's trained parameters, in the order in which the module lists them.

    After update k, counted from 1, the average has moved by 1 - min(decay, (1 + k)/(10 + k)) towards the parameters.
    """

    def __init__(self, module: nn.Module, decay: float = 0.9999) -> None:
        self.decay, self.updates = decay, 0
        self.shadow = [parameter.detach().clone() for parameter in module.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for average, parameter in zip(self.shadow, trained, strict=True):
            average.lerp_(parameter.detach(), 1 - kept)


class Aggregates(NamedTuple):
    """The four columns of the published tables, each the mean over instances."""

    published_min: float
    published_select: float
    published_zero_noise: float
    published_hypotheses_mean: float


def aggregates(errors: Tensor, scores: Tensor | None = None) -> Aggregates:
    """The means of `published_columns` over instances."""
    return Aggregates(*(float(column.double().mean()) for column in published_columns(errors, scores)))


def table(dataset: str, rows: Sequence[Aggregates]) -> str:
    """The text of the published result file for MPVPE, MPJPE and PA-MPJPE in mm, spaces and line ends as there."""
    mpvpe, mpjpe, pa = rows
    return (
        f"{dataset} dataset\n\n"
        f"MPVPE (Min): {mpvpe.published_min:.2f} mm\n"
        f"MPVPE (Select):{mpvpe.published_select:.2f} mm\n"
        f"MPVPE (Zero Noise): {mpvpe.published_zero_noise:.2f} mm\n"
        f"MPVPE (Hypoes Mean):{mpvpe.published_hypotheses_mean:.2f} mm"
        f"MPJPE (Min): {mpjpe.published_min:.2f} mm\n"
        f"MPJPE (Select): {mpjpe.published_select:.2f} mm\n"
        f"MPJPE (Zero Noise): {mpjpe.published_zero_noise:.2f} mm\n"
        f"MPJPE (Hypoes Mean): {mpjpe.published_hypotheses_mean:.2f} mm\n\n"
        f"PA MPJPE (Min):{pa.published_min:.2f} mm\n"
        f"PA MPJPE (Select): {pa.published_select:.2f} mm\n"
        f"PA MPJPE (Zero Noise): {pa.published_zero_noise:.2f} mm\n"
        f"PA MPJPE (Hypoes Mean):{pa.published_hypotheses_mean:.2f} mm\n"
    )
