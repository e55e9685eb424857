"""Random people for the tests of this folder: rotations within (and a little beyond) what human joints allow."""

import math

import roma
import torch
from torch import Tensor

from models import skeleton

# Largest rotation angle of each joint, degrees; a joint not named here gets the last.
LIMITS = {"hip": 120, "knee": 140, "ankle": 50, "foot": 30, "collar": 30, "shoulder": 130, "elbow": 140, "wrist": 80}
OTHERS = 45


def random_people(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rotations (count, 24, 3, 3), roots turned any way at all, and betas (count, 10)."""
    generator = torch.Generator().manual_seed(seed)
    limit = [LIMITS.get(name.rpartition("_")[2], OTHERS) for name in skeleton.JOINT_NAMES[: skeleton.SMPL_JOINTS]]
    limit[0] = 180
    axis = torch.nn.functional.normalize(torch.randn(count, skeleton.SMPL_JOINTS, 3, generator=generator), dim=-1)
    angle = torch.rand(count, skeleton.SMPL_JOINTS, 1, generator=generator)
    rotvec = axis * angle * torch.tensor(limit)[:, None] * math.pi / 180
    rotations: Tensor = roma.rotvec_to_rotmat(rotvec)
    return rotations, torch.randn(count, skeleton.BETAS, generator=generator)


def side(joint: int) -> str:
    """ "left", "right" or "middle": where the joint sits on the body."""
    first = skeleton.JOINT_NAMES[joint].partition("_")[0]
    return first if first in ("left", "right") else "middle"
