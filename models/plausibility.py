"""Whether a body can be: joints within what joints can do, and bones of the lengths that the body's shape gives them.

Limits are those of healthy adults' ranges of motion with a generous margin, because they are to find what no body does,
not what few do. They are said of each joint's own rotation in SMPL's skeleton, as swing (how far its bone points away
from where it points in the T-pose) and twist (the turn about that bone); knees and elbows bend one way, and thighs go
forwards much further than backwards. A shoulder's twist has no limit: lifted in front or at the side, the same arm has
another one.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from models import skeleton
from models.kinematics import twist_from_rotations


class Range(NamedTuple):
    """What a joint can do, in degrees from the T-pose."""

    swing: float
    twist: float
    forwards: float = 180.0
    """How far its bone may point forwards (SMPL's +z) of the plane in which it lies at rest, in its parent's frame."""
    backwards: float = 180.0


LIMITS: Final[dict[str, Range]] = {
    "hip": Range(150.0, 110.0, backwards=60.0),
    "spine1": Range(60.0, 50.0),
    "spine2": Range(60.0, 50.0),
    "spine3": Range(60.0, 50.0),
    "knee": Range(165.0, 60.0, forwards=25.0),
    "ankle": Range(80.0, 60.0),
    "foot": Range(80.0, 60.0),
    "neck": Range(70.0, 80.0),
    "collar": Range(60.0, 60.0),
    "head": Range(70.0, 80.0),
    "shoulder": Range(165.0, 180.0),
    "elbow": Range(165.0, 130.0, backwards=30.0),
    "wrist": Range(100.0, 110.0),
    "hand": Range(90.0, 80.0),
}
"""By the name of the joint, without its side."""

_JOINTS: Final = tuple(range(1, skeleton.SMPL_JOINTS))
_OF_JOINTS: Final = torch.tensor([LIMITS[skeleton.JOINT_NAMES[j].removeprefix("left_").removeprefix("right_")]
                                  for j in _JOINTS])  # fmt: skip


def beyond_limits(rotations: Tensor, rest_joints: Tensor) -> Tensor:
    """(N, 23) bool: which joints, from the left hip on, are turned beyond their limits. The pelvis has none.

    rotations: (N, 24, 3, 3) relative to the parents. rest_joints: (N, 29, 3), the T-pose of the same bodies.
    """
    rest = rest_joints[:, [skeleton.TWIST_CHILD[joint] for joint in _JOINTS]] - rest_joints[:, list(_JOINTS)]
    rest = torch.nn.functional.normalize(rest, dim=-1)
    bones = (rotations[:, 1:] @ rest[..., None])[..., 0]
    swing = torch.rad2deg(torch.acos((bones * rest).sum(-1).clamp(-1.0, 1.0)))
    cosine, sine = twist_from_rotations(rotations, rest_joints).unbind(-1)
    twist = torch.rad2deg(torch.atan2(sine, cosine)).abs()
    ahead = torch.rad2deg(torch.asin(bones[..., 2].clamp(-1.0, 1.0)) - torch.asin(rest[..., 2].clamp(-1.0, 1.0)))
    limits = _OF_JOINTS.to(rotations)
    measured = torch.stack([swing, twist, ahead, -ahead], -1)
    return (measured > limits).any(-1)


def bone_miss(joints: Tensor, rest_joints: Tensor) -> Tensor:
    """(N,) by how much the 28 bones miss the lengths that they have at rest: all misses over all lengths.

    joints, rest_joints: (N, 29, 3) in the same unit; how the joints are turned or moved does not count.
    """
    parents = list(skeleton.PARENTS[1:])
    length, rest = (torch.linalg.vector_norm(part[:, 1:] - part[:, parents], dim=-1) for part in (joints, rest_joints))
    return (length - rest).abs().sum(-1) / rest.sum(-1)
