"""What of a picture a hypothesis's limbs cover: a silhouette of capsules, laid on the encoder's map of the crop.

It stands for a rendered silhouette: no mesh is posed, so that a scorer sees it of thousands of hypotheses a second, and
it needs neither camera nor body.
"""

import torch
from torch import Tensor

from models.skeleton import PARENTS
from schemas.config.networks import JOINTS

_EDGE = 0.25
"""Over which part of the radius a limb's edge fades."""
_AROUND = 2.0
"""Radii out to which the picture counts as around a limb."""


def under_limbs(fine: Tensor, uv: Tensor, radius: float) -> Tensor:
    """Mean features under the limbs of each hypothesis, and in a seam around them: (B, M, 2L).

    Args:
        fine: (B, L, H, W) map of the crop.
        uv: (B, M, 29, 2) joints in [-1, 1]; where all lie outside the means are zero.
        radius: half a limb's thickness, in half crop sides.
    """
    distance = limb_distance(uv, fine.shape[2], fine.shape[3])
    inside = torch.sigmoid((radius - distance) / (_EDGE * radius))
    around = torch.sigmoid((_AROUND * radius - distance) / (_EDGE * radius)) - inside
    features = fine.flatten(2).mT
    means = (mask @ features / mask.sum(-1, keepdim=True).clamp_min(1.0) for mask in (inside, around))
    return torch.cat(tuple(means), dim=-1)


def limb_distance(uv: Tensor, rows: int, columns: int) -> Tensor:
    """(B, M, rows * columns) how far each cell's centre is from the nearest bone between joints (B, M, 29, 2)."""
    down, right = ((torch.arange(side, device=uv.device) + 0.5) * (2.0 / side) - 1.0 for side in (rows, columns))
    cells = torch.stack([right.expand(rows, -1), down[:, None].expand(-1, columns)], dim=-1).reshape(-1, 2)
    children = list(range(1, JOINTS))
    start = uv[..., [PARENTS[child] for child in children], :]
    bone = uv[..., children, :] - start
    # |cell - start - share * bone|, with the share that brings it nearest; products over cells, not differences
    along = torch.einsum("bmkc,nc->bmkn", bone, cells) - (bone * start).sum(-1, keepdim=True)
    squared = bone.square().sum(-1, keepdim=True)
    share = (along / squared.clamp_min(1e-9)).clamp(0, 1)
    apart = (
        cells.square().sum(-1)
        - 2 * torch.einsum("bmkc,nc->bmkn", start, cells)
        + start.square().sum(-1, keepdim=True)
        - 2 * share * along
        + share.square() * squared
    )
    return apart.amin(2).clamp_min(1e-9).sqrt()
