"""What the published HMR-Scorer sees: an upright picture of 384x512 pixels, and joints in its frame.

The engine's crops are square. The published scorer saw them, too, enlarged to the picture's width, between black bands
above and below; this module makes that of a crop, and moves hypotheses along. u and v run from -1 to 1 over the picture
(over its corner pixels' centres, where joints come from a square crop); d is in metres behind the root, everywhere.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models import vit
from models.cameras import project

HEIGHT, WIDTH = 512, 384
"""The upright picture, pixels."""
BAND = (HEIGHT - WIDTH) // 2
"""Height of each black band around a square crop, pixels."""
CACHED = 256
"""Side of the crop in which the published hypotheses are stored, pixels."""


def upright_picture(crops: Tensor) -> Tensor:
    """Square crops (B, 3, S, S) in [-1, 1] -> upright pictures (B, 3, 512, 384) in [0, 1], black bands included."""
    if crops.shape[-1] != crops.shape[-2]:
        raise ValueError(f"crops must be square, not {crops.shape[-1]}x{crops.shape[-2]}")
    enlarged = F.interpolate(crops / 2 + 0.5, size=(WIDTH, WIDTH), mode="bilinear", align_corners=False)
    return F.pad(enlarged, (0, 0, BAND, BAND))


def upright_joints(uvd: Tensor) -> Tensor:
    """Joints (..., 29, 3) normalised over the square crop -> the same, normalised over the upright picture.

    Positions are cut to whole pixels of the upright picture first, as the published scorer's data were.
    """
    pixels = ((uvd[..., :2] + 1) * ((CACHED - 1) / 2) * (WIDTH / CACHED)).trunc()
    u = pixels[..., 0] / ((WIDTH - 1) / 2) - 1
    v = (pixels[..., 1] + BAND) / ((HEIGHT - 1) / 2) - 1
    return torch.stack([u, v, uvd[..., 2]], dim=-1)


def encoder_picture(upright: Tensor) -> Tensor:
    """Upright pictures (B, 3, 512, 384) -> what the encoder takes (B, 3, 256, 192): every second pixel."""
    return F.interpolate(upright, size=(vit.HEIGHT, vit.WIDTH), mode="nearest")


# Waits for step 9 of the plan: the published HMR-Scorer is trained on labels, not on crops alone.
def upright_joints_of_camera(joints: Tensor, intrinsics: Tensor) -> Tensor:
    """Joints of a body in the picture's camera -> what the scorer is trained on.

    Args:
        joints: (..., 29, 3) camera frame, metres, pelvis first.
        intrinsics: (..., 4) fx, fy, cx, cy in pixels of the upright picture.

    Returns:
        (..., 29, 3) normalised u, v and d in metres behind the pelvis.
    """
    size = torch.tensor([WIDTH, HEIGHT], dtype=joints.dtype, device=joints.device)
    uv = 2 * (project(joints, intrinsics) / size - 0.5)
    return torch.cat([uv, joints[..., 2:] - joints[..., :1, 2:]], dim=-1)
