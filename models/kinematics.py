"""Analytic inverse kinematics: from 29 joints and 23 twists to 24 rotations (HybrIK, Li et al. CVPR 2021, section 3.2).

A joint's rotation is a swing, which points its bone where the joints say, after a twist about that bone, which no
joint shows and the policy therefore predicts: R = R_swing R_twist. The skeleton is solved from the root outwards, all
joints of a level at once. Only the directions of bones count, never their lengths, except in the adaptive solution.
"""

from typing import Literal

import roma
import torch
from torch import Tensor

from models import skeleton

Root = Literal["published", "procrustes"]

# Below these a vector has no direction to speak of (metres or any unit near it) and a half-turn no axis of its own.
_SHORT = 1e-8
_ADDED = 1e-8
_HALF_TURN = 1e-3

# Metres between where a joint was seen and where its bone would end, beyond which the sight is held to be wrong.
_ADAPTS = 0.015

_ROOT_CHILDREN = (3, 1, 2)  # spine1, left hip, right hip
_LEVELS = skeleton.levels()[1:]


def solve_rotations(
    joints: Tensor,
    rest_joints: Tensor,
    twist: Tensor,
    root: Root = "published",
    adaptive: bool = False,
    rounded: bool = False,
) -> Tensor:
    """Rotations (B, 24, 3, 3) relative to the parents that bring the rest skeleton into the joints' directions.

    joints (B, 29, 3) and rest_joints (B, 29, 3) in any one unit, wherever the root lies. twist (B, 23, 2): cosine and
    sine of each joint's twist, row k for joint k + 1; their common length does not count.

    `root` says how the pelvis, which has no twist, is turned by its three children. "published": the spine's
    direction exactly, then the middle of the hips as nearly as a turn about the spine allows (the branch that all
    published pipelines run). "procrustes": the best fit to the three together. On exact joints they agree; but the
    hips lie only centimetres off the spine's line, so under noise the published turn is several times as uncertain.

    `adaptive` aims each bone from where the solved skeleton really puts its joint, so that errors do not add up along
    a limb (HybrIK's adaptive solution), unless the joint's child was seen more than 15 mm from where the bone as seen
    would end; both skeletons must then be in metres. With root="procrustes" it is the published layer in evaluation
    mode, which no published pipeline uses.

    `rounded` takes over the rounding of the published formulas, which shows between bones of a few millimetres: see
    `_rounded_swing`. In metres it costs exactness where a limb is turned by nearly half a turn.

    Joints and twists must be finite. Where a bone has no length or a twist no direction, there is no turn; nothing
    ever becomes NaN.
    """
    parents = list(skeleton.PARENTS[1:])
    bones = joints[:, 1:] - joints[:, parents]
    rest = rest_joints[:, 1:] - rest_joints[:, parents]
    children = [child - 1 for child in _ROOT_CHILDREN]
    trunk = (rest[:, children], bones[:, children])
    turned = _root_published(*trunk, rounded) if root == "published" else _root_procrustes(*trunk)
    world: list[Tensor] = [turned] * skeleton.SMPL_JOINTS
    local: list[Tensor] = list(world)

    bone_of = [skeleton.TWIST_CHILD[joint] - 1 for joint in range(1, skeleton.SMPL_JOINTS)]
    axes = _unit(rest[:, bone_of], _up(rest[:, bone_of]))
    spin = _turn_about(axes, twist)
    placed: list[Tensor] = [rest_joints[:, 0]] * skeleton.SMPL_JOINTS
    seen_from_root = joints - joints[:, :1] + rest_joints[:, :1]
    for level in _LEVELS:
        parent = torch.stack([world[skeleton.SMPL_PARENTS[joint]] for joint in level], 1)
        rows = [joint - 1 for joint in level]
        bones_here = [bone_of[row] for row in rows]
        axis, aim = axes[:, rows], bones[:, bones_here]
        if adaptive:
            above = torch.stack([placed[skeleton.SMPL_PARENTS[joint]] for joint in level], 1)
            here = above + (parent @ rest[:, rows, :, None])[..., 0]
            reach = seen_from_root[:, [bone + 1 for bone in bones_here]] - here
            aim = _adapted(aim, reach, rest[:, bones_here])
            for place, joint in enumerate(level):
                placed[joint] = here[:, place]
        goal = (parent.mT @ aim[..., None])[..., 0]
        swing = _rounded_swing(rest[:, bones_here], goal) if adaptive and rounded else _swing(axis, _unit(goal, axis))
        turn = swing @ spin[:, rows]
        reached = parent @ turn
        for place, joint in enumerate(level):
            local[joint], world[joint] = turn[:, place], reached[:, place]
    return torch.stack(local, 1)


def twist_from_rotations(rotations: Tensor, rest_joints: Tensor) -> Tensor:
    """Cosine and sine (B, 23, 2) of the twist in each rotation (B, 24, 3, 3) about its rest bone (B, 29, 3).

    With the quaternion (w, v) of a rotation and the bone's direction a, the twist's half-angle has cosine w and sine
    v·a up to a common factor; here both are read from the matrix, so that there is no branch and no square root of a
    small number. After a swing by half a turn the twist is arbitrary, and 0 is returned.
    """
    joint = list(range(1, skeleton.SMPL_JOINTS))
    rest = rest_joints[:, [skeleton.TWIST_CHILD[j] for j in joint]] - rest_joints[:, joint]
    axis = _unit(rest, _up(rest))
    turn = rotations[:, 1:]
    along = (axis[..., None, :] @ turn @ axis[..., None])[..., 0, 0]
    cosine = turn.diagonal(dim1=-2, dim2=-1).sum(-1) - along
    skew = turn - turn.mT
    sine = (axis * torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)).sum(-1)
    return _cosine_and_sine(torch.stack([cosine, sine], -1))


def _adapted(bones: Tensor, reach: Tensor, rest: Tensor) -> Tensor:
    """Where bones should point: `reach`, from the solved joint to the child as seen, unless too far off `bones`.

    All (B, L, 3) metres: bones as seen, and at rest for their length.
    """
    as_seen = _unit(bones, torch.zeros_like(bones)) * torch.linalg.vector_norm(rest, dim=-1, keepdim=True)
    off = (reach - as_seen).square().sum(-1, keepdim=True)
    return torch.where(off > _ADAPTS**2, as_seen, reach)


def _root_published(rest: Tensor, bones: Tensor, rounded: bool) -> Tensor:
    """(B, 3, 3) from the root's rest and seen bones (B, 3, 3): spine first, then the hips about it."""
    up = _unit(rest[:, 0], _up(rest[:, 0]))
    spine = _unit(bones[:, 0], up)
    swing = _rounded_swing(rest[:, 0], bones[:, 0]) if rounded else _swing(up, spine)
    there = bones[:, 1:].mean(1)
    here = (swing @ rest[:, 1:].mean(1)[..., None])[..., 0]
    there, here = (v - (v * spine).sum(-1, keepdim=True) * spine for v in (there, here))
    if rounded:
        return _rounded_swing(here, there) @ swing
    cosine = (here * there).sum(-1)
    sine = (torch.linalg.cross(here, there) * spine).sum(-1)
    return _turn_about(spine, torch.stack([cosine, sine], -1)) @ swing


def _root_procrustes(rest: Tensor, bones: Tensor) -> Tensor:
    """(B, 3, 3): the rotation that takes the rest bones nearest to the seen ones (least squares over positions)."""
    turn: Tensor = roma.special_procrustes(bones.mT @ rest)
    return turn


def _up(like: Tensor) -> Tensor:
    return torch.tensor([0.0, 1.0, 0.0], dtype=like.dtype, device=like.device).expand_as(like)


def _unit(vector: Tensor, otherwise: Tensor) -> Tensor:
    """The direction of (..., 3) vectors; where one is too short to have any, `otherwise`, with a gradient of zero."""
    squared = vector.square().sum(-1, keepdim=True)
    long = squared > _SHORT**2
    # The square root sees a harmless number there, or its infinite slope would make NaN of the masked gradient.
    direction = torch.where(long, vector, 0.0) / torch.where(long, squared, 1.0).sqrt()
    return torch.where(long, direction, otherwise)


def _cosine_and_sine(phi: Tensor) -> Tensor:
    """(..., 2) scaled to length one; no turn where it has no length."""
    return _unit(phi, torch.tensor([1.0, 0.0], dtype=phi.dtype, device=phi.device).expand_as(phi))


def _turn_about(axis: Tensor, phi: Tensor) -> Tensor:
    """Rodrigues: (..., 3) unit axes and (..., 2) cosine and sine (of any length) -> (..., 3, 3)."""
    cosine, sine = _cosine_and_sine(phi)[..., None, None].unbind(-3)
    outer = axis[..., :, None] * axis[..., None, :]
    identity = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return cosine * identity + sine * _cross_matrix(axis) + (1 - cosine) * outer


def _swing(start: Tensor, end: Tensor) -> Tensor:
    """The smallest rotations (..., 3, 3) that take the unit vectors `start` to `end`, both (..., 3).

    A rotation is two reflections; here: mirror in the plane of start, then in the plane of the vector half-way
    between. Written so, it is exact up to half a turn, where any vector perpendicular to `start` is half-way.
    """
    half = start + end
    smallest = torch.nn.functional.one_hot(start.detach().abs().argmin(-1), 3).to(start.dtype)
    sideways = smallest - (smallest * start).sum(-1, keepdim=True) * start
    half = torch.where(half.square().sum(-1, keepdim=True) > _HALF_TURN**2, half, sideways)
    half = _unit(half, sideways)
    identity = torch.eye(3, dtype=start.dtype, device=start.device)
    return identity - 2 * half[..., :, None] * half[..., None, :] + 2 * end[..., :, None] * start[..., None, :]


def _rounded_swing(start: Tensor, end: Tensor) -> Tensor:
    """As `_swing`, for vectors (..., 3) in metres of any length and with the rounding of the published formulas.

    They add 1e-8 to each length that they divide by, so that between bones of a few millimetres what comes out is
    a rotation to four digits only, and the identity between opposite vectors. Bodies have longer bones; published
    numbers for disturbed joints need it.
    """
    lengths = torch.linalg.vector_norm(start, dim=-1) * torch.linalg.vector_norm(end, dim=-1) + _ADDED
    normal = torch.linalg.cross(start, end)
    height = torch.linalg.vector_norm(normal, dim=-1)
    cosine, sine = (part[..., None, None] / lengths[..., None, None] for part in ((start * end).sum(-1), height))
    cross = _cross_matrix(normal / (height + _ADDED)[..., None])
    return torch.eye(3, dtype=start.dtype, device=start.device) + sine * cross + (1 - cosine) * (cross @ cross)


def _cross_matrix(vector: Tensor) -> Tensor:
    """(..., 3) -> the matrices (..., 3, 3) by which v x w = matrix @ w."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
