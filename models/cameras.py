"""Crops, pinhole cameras, and the (u, v, d) form of joints that the policy works in.

Conventions: camera frame x right, y down, z forward, metres. Pixels are continuous: pixel i covers [i, i + 1).
Intrinsics are (fx, fy, cx, cy) in pixels; a crop's own intrinsics follow from its affine map, so everything below
speaks of the crop alone. u and v run from -1 to 1 over the crop; d is the depth behind the root joint in metres.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from models import skeleton

NEAREST, FARTHEST = 0.05, 1000.0
"""Root depths in metres outside of which `root_depth_from_bones` does not look."""

_TOLERANCE = 0.12  # metres: bones that miss their length by more count for ever less
_NEWTON_STEPS = 12


class Intrinsics(NamedTuple):
    """A pinhole camera without skew; all four in pixels of the picture it belongs to."""

    fx: float
    fy: float
    cx: float
    cy: float

    def scaled(self, factor: float) -> "Intrinsics":
        """The same camera for a picture enlarged `factor` times."""
        return Intrinsics(self.fx * factor, self.fy * factor, self.cx * factor, self.cy * factor)


def default_focal_px(width: float, height: float) -> float:
    """The focal length in pixels of a picture about which nothing is known: its diagonal (a lens of normal angle)."""
    return math.hypot(width, height)


def square_box(box: Tensor, enlarge: float = 1.25) -> Tensor:
    """The square (..., 4) around the centre of boxes x, y, w, h (..., 4) in pixels; side max(w, h) * enlarge."""
    centre = box[..., :2] + box[..., 2:] / 2
    side = box[..., 2:].amax(-1, keepdim=True) * enlarge
    return torch.cat([centre - side / 2, side, side], -1)


def crop_affine(square: Tensor, size: int) -> Tensor:
    """The map (..., 2, 3) from picture pixels to the pixels of a size x size crop of `square` (..., 4).

    Uniform scale and shift: crop = A[:, :2] @ picture + A[:, 2].
    """
    scale = size / square[..., 2]
    zero = torch.zeros_like(scale)
    shift = -scale[..., None] * square[..., :2]
    rows = [torch.stack([scale, zero, shift[..., 0]], -1), torch.stack([zero, scale, shift[..., 1]], -1)]
    return torch.stack(rows, -2)


def affine_intrinsics(intrinsics: Tensor, affine: Tensor) -> Tensor:
    """The crop's camera (..., 4) from the picture's (..., 4) and the crop's map (..., 2, 3)."""
    scale, shift = affine[..., 0, 0, None], affine[..., 2]
    return torch.cat([intrinsics[..., :2] * scale, intrinsics[..., 2:] * scale + shift], -1)


def apply_affine(affine: Tensor, pixels: Tensor) -> Tensor:
    """Pixels (..., N, 2) through maps (..., 2, 3)."""
    return pixels @ affine[..., :2].mT + affine[..., None, :, 2]


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Pinhole pixels (..., N, 2) of camera points (..., N, 3) in metres by intrinsics (..., 4).

    Points at or behind the camera's own plane project from the smallest depth in front of it, far outside.
    """
    depth = points[..., 2:].clamp_min(1e-6)
    return intrinsics[..., None, :2] * points[..., :2] / depth + intrinsics[..., None, 2:]


def uvd_from_camera(joints: Tensor, crop_intrinsics: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Camera joints (..., 29, 3) in metres -> normalised uvd (..., 29, 3) and the root's depth (...) in metres."""
    uv = 2 * (project(joints, crop_intrinsics) / size - 0.5)
    root_depth = joints[..., 0, 2]
    return torch.cat([uv, joints[..., 2:] - root_depth[..., None, None]], -1), root_depth


def camera_from_uvd(uvd: Tensor, crop_intrinsics: Tensor, size: int, root_depth: Tensor) -> Tensor:
    """Normalised uvd (..., 29, 3) at root depths (...) in metres -> camera joints (..., 29, 3) in metres."""
    rays = _rays(uvd, crop_intrinsics, size)
    depth = uvd[..., 2:] + root_depth[..., None, None]
    return torch.cat([rays * depth, depth], -1)


def root_depth_from_bones(uvd: Tensor, crop_intrinsics: Tensor, size: int, rest_joints: Tensor) -> Tensor:
    """The root's depth (B,) in metres at which the back-projected bones best have the lengths of the rest skeleton.

    uvd (B, 29, 3) normalised, crop_intrinsics (B, 4), rest_joints (B, 29, 3) of the person's betas.

    Between joint and parent the vector (ray_j d_j - ray_p d_p) + Z (ray_j - ray_p) depends linearly on the root depth
    Z, and so does nothing else: a least-squares problem in one unknown. It starts from the lengths that the bones
    should have in the image plane (closed form) and goes on by Gauss-Newton in log Z, with Geman-McClure weights,
    because one wild joint of a bad hypothesis would otherwise move the whole body. Bones count by their length: noise
    makes bones look longer, short ones most of all, and so draws the body nearer.
    """
    parents, children = list(skeleton.PARENTS[1:]), list(range(1, skeleton.JOINTS))
    length = (rest_joints[:, children] - rest_joints[:, parents]).norm(dim=-1)
    rays, depth = _rays(uvd, crop_intrinsics, size), uvd[..., 2]
    fixed = (rays * depth[..., None])[:, children] - (rays * depth[..., None])[:, parents]
    slope = rays[:, children] - rays[:, parents]
    across = depth[:, children] - depth[:, parents]

    in_plane = (length.square() - across.square()).clamp_min(0).sqrt()
    spread = slope.norm(dim=-1)
    start = (in_plane * spread).sum(-1) / spread.square().sum(-1).clamp_min(1e-12)
    log_depth = start.clamp(NEAREST, FARTHEST).log()
    for _ in range(_NEWTON_STEPS):
        z = log_depth.exp()[:, None]
        flat = fixed + z[..., None] * slope
        reach = (flat.square().sum(-1) + across.square()).sqrt().clamp_min(1e-6)
        miss = reach - length
        weight = length / (1 + (miss / _TOLERANCE).square()).square()
        steep = z * (flat * slope).sum(-1) / reach
        step = (weight * miss * steep).sum(-1) / (weight * steep.square()).sum(-1).clamp_min(1e-12)
        # Half an octave at most: far from the solution the lengths are no longer straight lines in log Z.
        log_depth = (log_depth - step.clamp(-0.35, 0.35)).clamp(math.log(NEAREST), math.log(FARTHEST))
    return log_depth.exp()


def _rays(uvd: Tensor, crop_intrinsics: Tensor, size: int) -> Tensor:
    """x and y at depth one (..., N, 2) of the crop positions in uvd (..., N, 3)."""
    pixels = (uvd[..., :2] / 2 + 0.5) * size
    return (pixels - crop_intrinsics[..., None, 2:]) / crop_intrinsics[..., None, :2]


def mirror_joints(joints: Tensor) -> Tensor:
    """Joints of the mirrored person (..., 29, 3): camera metres with the camera's axis as mirror, or uvd alike."""
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=joints.dtype, device=joints.device)
    return joints[..., list(skeleton.MIRROR_JOINTS), :] * flip


def mirror_twist(twist: Tensor) -> Tensor:
    """Twists (..., 23, 2) of the mirrored person: sides swapped, angles the other way round."""
    flip = torch.tensor([1.0, -1.0], dtype=twist.dtype, device=twist.device)
    return twist[..., list(skeleton.MIRROR_TWISTS), :] * flip
