"""The six bodies of the fixtures: poses, shapes, cameras, made again by their rules."""

from functools import cache
from typing import NamedTuple

import roma
import torch
from torch import Tensor

from tests.parity.rules import golden, normal

IK, TARGETS = "04_ik_smpl.npz", "05_targets.npz"
COUNT = 6
INTRINSICS = torch.tensor([1100.0, 1105.0, 320.0, 240.0])
"""Pixels of the 480x640 picture."""


class People(NamedTuple):
    axis_angles: Tensor
    rotations: Tensor
    betas: Tensor
    joints: Tensor
    """(6, 29, 3) metres, as published."""
    twists: Tensor


@cache
def people() -> People:
    """Poses, joints and twists."""
    turns = normal("ik.theta", (COUNT, 24, 3), 0.3)
    turns[:, 0] = normal("ik.root", (COUNT, 3), 0.3) + torch.tensor([2.8, 0.1, 0.0])
    stored = golden(IK)
    return People(
        turns,
        roma.rotvec_to_rotmat(turns),
        normal("ik.betas", (COUNT, 10)),
        torch.from_numpy(stored["fwd.joints29"]),
        torch.from_numpy(stored["twist.phi"]),
    )


def target(name: str, crop: str = "m125") -> Tensor:
    """One entry (6, ...) of the published targets of all bodies."""
    stored = golden(TARGETS)
    return torch.stack([torch.from_numpy(stored[f"{crop}.{person}.{name}"]) for person in range(COUNT)])


def label(name: str) -> Tensor:
    """One entry (6, ...) of the labels, float64, mm and picture pixels."""
    stored = golden(TARGETS)
    return torch.stack([torch.from_numpy(stored[f"label.{person}.{name}.f64"]) for person in range(COUNT)])
