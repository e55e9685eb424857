"""Errors of hypotheses against labels, and how much hypotheses differ: metres in, millimetres out.

All functions take batches: leading dimensions are free and broadcast against the label's, so that (B, M, V, 3)
hypotheses meet (B, 1, V, 3) labels. Errors are means over points of Euclidean distances. MPVPE and MPJPE are
root-relative; the PA- variants first align each hypothesis to its label by the best similarity.
"""

import torch
from torch import Tensor

from models.measures import MM_PER_M
from models.skeleton import SMPL_JOINTS


def mpvpe_mm(vertices: Tensor, label_vertices: Tensor, root: Tensor, label_root: Tensor) -> Tensor:
    """Mean per-vertex position error (mm) after moving both meshes' roots to the origin.

    vertices, label_vertices: (..., V, 3) m. root, label_root: (..., 3) m, the pelvis of each mesh. Returns (...).
    """
    _check_points(vertices, label_vertices)
    # One shift for both roots: the difference is taken only once over the many vertices.
    shift = (root - label_root)[..., None, :]
    return _mean_distance_mm(vertices - shift, label_vertices)


def mpjpe_mm(joints: Tensor, label_joints: Tensor) -> Tensor:
    """Mean per-joint position error (mm) over the 24 SMPL joints, relative to the pelvis (joint 0).

    joints, label_joints: (..., 24 or 29, 3) m; leaves after the first 24 are not looked at. Returns (...).
    """
    joints, label_joints = _smpl_joints(joints), _smpl_joints(label_joints)
    return mpvpe_mm(joints, label_joints, joints[..., 0, :], label_joints[..., 0, :])


def pa_mpjpe_mm(joints: Tensor, label_joints: Tensor) -> Tensor:
    """`mpjpe_mm` after Procrustes alignment of the 24 joints instead of root alignment. Returns (...)."""
    joints, label_joints = _smpl_joints(joints), _smpl_joints(label_joints)
    return _mean_distance_mm(procrustes_align(joints, label_joints), label_joints)


def pa_mpvpe_mm(vertices: Tensor, label_vertices: Tensor) -> Tensor:
    """Mean per-vertex error (mm) after Procrustes alignment of the meshes (..., V, 3) m. Returns (...)."""
    return _mean_distance_mm(procrustes_align(vertices, label_vertices), label_vertices)


def procrustes_align(points: Tensor, target: Tensor) -> Tensor:
    """`points` after the similarity (rotation, scale, shift) that brings them nearest to `target`, least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991. A mirror
    image is never used: where the best orthogonal map is a reflection, the best rotation is taken. Points that all
    coincide land on the target's mean. points, target: (..., P, 3), broadcasting. Returns (..., P, 3).
    """
    _check_points(points, target)
    points, target = torch.broadcast_tensors(points, target)
    mean, target_mean = points.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    centred, target_centred = points - mean, target - target_mean
    left, singular, right = torch.linalg.svd(centred.transpose(-1, -2) @ target_centred)
    # The least of the three axes is turned over where the product would otherwise mirror.
    handedness = torch.ones_like(singular)
    handedness[..., 2] = torch.where(torch.linalg.det(left @ right) < 0, -1.0, 1.0)
    rotation = (left * handedness[..., None, :]) @ right
    spread = centred.square().sum((-2, -1))
    scale = (singular * handedness).sum(-1) / spread.clamp_min(torch.finfo(spread.dtype).tiny)
    return scale[..., None, None] * (centred @ rotation) + target_mean


def diversity_mm(joints: Tensor) -> Tensor:
    """How far samples of one instance lie from each other: mean over joints of the RMS distance to the mean pose (mm).

    joints: (..., M, J, 3) m, M samples of each instance; made relative to joint 0 of each sample first, so that only
    poses count and not places. Returns (...); zero for a single sample.
    """
    relative = joints - joints[..., :1, :]
    deviation = relative - relative.mean(-3, keepdim=True)
    return deviation.square().sum(-1).mean(-2).sqrt().mean(-1) * MM_PER_M


def _mean_distance_mm(points: Tensor, target: Tensor) -> Tensor:
    return torch.linalg.vector_norm(points - target, dim=-1).mean(-1) * MM_PER_M


def _smpl_joints(joints: Tensor) -> Tensor:
    if joints.shape[-2] < SMPL_JOINTS:
        raise ValueError(f"joints must be (..., {SMPL_JOINTS} or more, 3), not {tuple(joints.shape)}")
    return joints[..., :SMPL_JOINTS, :]


def _check_points(points: Tensor, target: Tensor) -> None:
    # A single point would broadcast against a whole mesh and give a number that looks like an error.
    if points.shape[-2:] != target.shape[-2:] or points.shape[-1] != 3:
        raise ValueError(f"points {tuple(points.shape)} and target {tuple(target.shape)} must both end in (P, 3)")
