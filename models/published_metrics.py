"""Errors and aggregates as the published evaluations define them, for comparison with published tables.

The engine's own numbers (`models.metrics`) are over the 24 joints, and its best of M is a minimum over M samples. Here
everything is over 14 of the 17 Human3.6M joints, and what is published as "Min" ranges over two averaged candidates
more. All names begin with `published_`, so that one is not taken for the other.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from models.joint_sets import EVALUATION_JOINTS, HUMAN36M_JOINTS
from models.measures import MM_PER_M
from models.metrics import procrustes_align

Order = Literal["3dpw", "human36m"]
_BEST = 5
"""How many of the best-scored hypotheses the published selection averages."""
_FAR_ABOVE = 50.0
"""What is added to the best score for the selection's own score, so that it is always preferred."""


class PublishedErrors(NamedTuple):
    """Errors in mm, one for each of the 14 joints: (..., 14). Their mean is the error of a hypothesis."""

    mpjpe: Tensor
    pa_mpjpe: Tensor


def published_joint_errors_mm(joints: Tensor, label: Tensor, order: Order = "3dpw") -> PublishedErrors:
    """Errors of the 14 evaluation joints from Human3.6M joints (..., 17, 3) in metres, broadcasting.

    MPJPE is relative to the pelvis (joint 0). The order of the two steps of PA-MPJPE differs: "3dpw" aligns the 14
    joints, "human36m" aligns all 17 and then takes the 14, so that the numbers of the two don't compare.
    """
    if joints.shape[-2] != len(HUMAN36M_JOINTS) or label.shape[-2] != len(HUMAN36M_JOINTS):
        raise ValueError(f"joints {tuple(joints.shape)} and label {tuple(label.shape)} must be (..., 17, 3)")
    chosen = list(EVALUATION_JOINTS)
    joints, label = joints - joints[..., :1, :], label - label[..., :1, :]
    if order == "3dpw":
        aligned = _distance_mm(procrustes_align(joints[..., chosen, :], label[..., chosen, :]), label[..., chosen, :])
    else:
        aligned = _distance_mm(procrustes_align(joints, label), label)[..., chosen]
    return PublishedErrors(_distance_mm(joints, label)[..., chosen], aligned)


def published_mpvpe_mm(vertices: Tensor, joints: Tensor, label_vertices: Tensor, label_joints: Tensor) -> Tensor:
    """Mean per-vertex error (...) in mm of meshes (..., V, 3) m, each relative to its own Human3.6M pelvis.

    joints, label_joints: (..., 17, 3), the Human3.6M joints of the meshes.
    """
    moved = vertices - (joints - label_joints)[..., :1, :]
    return _distance_mm(moved, label_vertices).mean(-1)


class PublishedCandidates(NamedTuple):
    """C candidates of each of B instances, in the published order.

    With scores C = M + 2: the mean of the five best-scored hypotheses, the M hypotheses (the first from zero noise),
    the mean of all. Without scores the M hypotheses alone.
    """

    uvd: Tensor
    """(B, C, 29, 3)"""
    twists: Tensor
    """(B, C, 23, 2), of any length."""
    scores: Tensor | None
    """(B, C)"""


def published_candidates(uvd: Tensor, twists: Tensor, scores: Tensor | None = None) -> PublishedCandidates:
    """What the published evaluation ranges over, from uvd (B, M, 29, 3), twists (B, M, 23, 2) and scores (B, M).

    The five best are averaged by their twists' *angles* between -90 and 270 degrees, which goes wrong for angles on
    both sides of that border; the mean of all averages cosines and sines. Both are kept as published.
    """
    if scores is None:
        return PublishedCandidates(uvd, twists, None)
    best = scores.argsort(1, descending=True)[:, :_BEST]
    best_uvd = uvd.gather(1, best[..., None, None].expand(-1, -1, *uvd.shape[2:])).mean(1)
    angle = torch.atan2(twists[..., 1], twists[..., 0])
    angle = torch.where(angle < -math.pi / 2, angle + 2 * math.pi, angle)
    mean_angle = angle.gather(1, best[..., None].expand(-1, -1, angle.shape[2])).mean(1)
    best_twists = torch.stack([mean_angle.cos(), mean_angle.sin()], -1)
    preferred = (scores.max() + _FAR_ABOVE).expand(len(scores))
    return PublishedCandidates(
        torch.cat([best_uvd[:, None], uvd, uvd.mean(1, keepdim=True)], 1),
        torch.cat([best_twists[:, None], twists, twists.mean(1, keepdim=True)], 1),
        torch.cat([preferred[:, None], scores, torch.zeros_like(scores[:, :1])], 1),
    )


class PublishedColumns(NamedTuple):
    """The four columns of the published tables, (B,) each; published are the means over instances."""

    published_min: Tensor
    """Least error of all candidates, the two averages included."""
    published_select: Tensor
    """Error of the preferred candidate, which is always the average of the five best; nan without scores."""
    published_zero_noise: Tensor
    published_hypotheses_mean: Tensor
    """Error of the last candidate: the average of all; without scores simply the last hypothesis."""


def published_columns(errors: Tensor, scores: Tensor | None = None) -> PublishedColumns:
    """From the errors (B, C) of `published_candidates`' output, and its scores (B, C); in the errors' own unit."""
    least = errors.amin(1)
    if scores is None:
        return PublishedColumns(least, torch.full_like(least, math.nan), errors[:, 0], errors[:, -1])
    selected = errors.gather(1, scores.argmax(1, keepdim=True))[:, 0]
    return PublishedColumns(least, selected, errors[:, 1], errors[:, -1])


def _distance_mm(points: Tensor, target: Tensor) -> Tensor:
    return torch.linalg.vector_norm(points - target, dim=-1) * MM_PER_M
