"""Crops, joints and targets as the published data pipelines make them from labelled joints (crop_rule = joints).

Published files count pixels by their centres: pixel i is at i, where `models.cameras` says that it covers [i, i + 1).
The maps are the same; only boxes tell the two apart, and those that follow the published count are here.
Joints are stored as u, v in pixels of the crop and d in mm behind the root; the models take `cameras`' normalised uvd.
"""

from typing import Final

import torch
from torch import Tensor

from models import skeleton
from models.cameras import apply_affine

CROP_PX: Final = 256
"""Side of a published crop."""
_PADDING = 1.2
_MM_PER_M = 1000.0


def joint_box(pixels: Tensor) -> Tensor:
    """The box (..., 4) x, y, w, h that is 1.2 times the extent of the first 24 joints in (..., 24 or 29, 2) pixels."""
    body = pixels[..., : skeleton.SMPL_JOINTS, :]
    low, high = body.amin(-2), body.amax(-2)
    extent = _PADDING * (high - low)
    return torch.cat([(low + high - extent) / 2, extent], -1)


def published_square(box: Tensor, scale: float = 1.25) -> Tensor:
    """The square (..., 4) that published pipelines cut around a box (..., 4) x, y, w, h in pixels.

    A box ends at its last pixel's centre: the square's centre lies half a pixel up and left of the box's, and the side
    is (max(w, h) - 1) * scale. `scale` is 1.25, for Human3.6M and InstaVariety 1.
    """
    centre = box[..., :2] + (box[..., 2:] - 1) / 2
    side = (box[..., 2:].amax(-1, keepdim=True) - 1) * scale
    return torch.cat([centre - side / 2, side, side], -1)


def invert_turned_affine(affine: Tensor) -> Tensor:
    """The map back (..., 2, 3) of any map (..., 2, 3) that can be inverted."""
    back = torch.linalg.inv(affine[..., :2])
    return torch.cat([back, -back @ affine[..., 2:]], -1)


def crop_joints(uvd: Tensor, size: int = CROP_PX) -> Tensor:
    """Normalised uvd (..., 3) -> crop pixels and mm behind the root, as published files store joints."""
    return torch.cat([(uvd[..., :2] / 2 + 0.5) * size, uvd[..., 2:] * _MM_PER_M], -1)


def normalised_joints(joints: Tensor, size: int = CROP_PX) -> Tensor:
    """Crop pixels and mm behind the root (..., 3) -> normalised uvd, d in metres."""
    return torch.cat([2 * (joints[..., :2] / size - 0.5), joints[..., 2:] / _MM_PER_M], -1)


def joints_through(joints: Tensor, affine: Tensor) -> Tensor:
    """u, v of joints (..., N, 3) through maps (..., 2, 3); d stays."""
    return torch.cat([apply_affine(affine, joints[..., :2]), joints[..., 2:]], -1)


def joints_between_crops(joints: Tensor, made_in: Tensor, wanted_in: Tensor) -> Tensor:
    """Joints (..., N, 3) in pixels of one crop -> pixels of another crop of the same picture.

    `made_in`, `wanted_in`: (..., 2, 3), each crop's map from the picture. Stored pairs were made in the test crop and
    are trained on in the training crop.
    """
    return joints_through(joints_through(joints, invert_turned_affine(made_in)), wanted_in)
