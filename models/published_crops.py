"""Crops, joints and targets as the published data pipelines make them from labelled joints (crop_rule = joints).

Published files count pixels by their centres: pixel i is at i, where `models.cameras` says that it covers [i, i + 1).
The maps are the same; only boxes and flips tell the two apart, and those that follow the published count are here.
Joints are stored as u, v in pixels of the crop and d in mm behind the root; the models take `cameras`' normalised uvd.
"""

import math
from typing import Final

import torch
from torch import Tensor

from models import skeleton
from models.cameras import apply_affine
from models.joint_sets import MIRROR_HUMAN36M

CROP_PX: Final = 256
"""Side of a published crop."""
INPUT_SCALE: Final = 50.0
"""The published policy sees uvd and twists times this."""
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


def flip_pixels(joints: Tensor, width: int) -> Tensor:
    """Joints (..., 29, 2 or 3) of the picture, `width` pixels wide, flipped left to right; the rest as it is."""
    swapped = joints[..., list(skeleton.MIRROR_JOINTS), :]
    return torch.cat([width - 1 - swapped[..., :1], swapped[..., 1:]], -1)


def flip_human36m(joints: Tensor) -> Tensor:
    """The 17 joints (..., 17, 3) of the mirrored person, with the camera's axis as mirror."""
    swapped = joints[..., list(MIRROR_HUMAN36M), :]
    return torch.cat([-swapped[..., :1], swapped[..., 1:]], -1)
