"""Attention over the items of a hypothesis (29 joints, 23 twists) and over the image, shared by HypoNet and HMR-Scorer.

The block is a pre-norm transformer decoder layer (self-attention, cross-attention to the image, feed-forward) whose
queries and keys carry fixed position codes. Parameter names are those of the published checkpoints.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.MultiheadAttention):
    """Multi-head attention with torch's parameter names and the fused kernel of `scaled_dot_product_attention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, batch_first=True)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None = None) -> Tensor:
        """Attention of `query` (B, Q, C) over `key`, `value` (B, K, C).

        `blocked` (Q, K) is true where looking is barred.
        """
        weight_q, weight_k, weight_v = self.projection().chunk(3)
        bias_q, bias_k, bias_v = self.in_proj_bias.chunk(3)
        mixed = F.scaled_dot_product_attention(
            self._split(F.linear(query, weight_q, bias_q)),
            self._split(F.linear(key, weight_k, bias_k)),
            self._split(F.linear(value, weight_v, bias_v)),
            attn_mask=None if blocked is None else ~blocked,
        )
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def projection(self) -> Tensor:
        """(3C, C) weight that makes queries, keys and values."""
        return self.in_proj_weight

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class DecoderBlock(nn.Module):
    """Self-attention along the skeleton, cross-attention to the image, feed-forward; pre-norm, with residuals.

    `norms_last` changes the order of the parameters only: published averages are lists without names, and ScoreNet's
    blocks were registered in another order than HypoNet's.
    """

    def __init__(
        self, width: int, heads: int, feedforward_ratio: int, dropout: float, norms_last: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.multihead_attn = Attention(width, heads)
        self.linear1 = nn.Linear(width, width * feedforward_ratio)
        self.linear2 = nn.Linear(width * feedforward_ratio, width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        if norms_last:
            for name in ("norm1", "norm2", "norm3"):
                norm = getattr(self, name)
                delattr(self, name)
                setattr(self, name, norm)

    def forward(
        self, items: Tensor, item_code: Tensor, image: Tensor, image_code: Tensor, blocked: Tensor | None
    ) -> Tensor:
        """One block.

        Args:
            items: (B*M, I, C) tokens of M hypotheses an image, image-major.
            item_code: (1, I, C) position code of the items.
            image: (B, P, C) tokens of the image.
            image_code: (1, P, C) position code of the image.
            blocked: (I, I) true where an item may not look at another, or None.
        """
        normed = self.norm1(items)
        placed = normed + item_code
        items = items + self.dropout(self.self_attn.attend(placed, placed, normed, blocked))
        # The hypotheses of one image are folded into one long query, so that the image is projected once for all.
        query = (self.norm2(items) + item_code).reshape(image.shape[0], -1, items.shape[-1])
        looked = self.multihead_attn.attend(query, image + image_code, image)
        items = items + self.dropout(looked.reshape_as(items))
        hidden = self.dropout(F.relu(self.linear1(self.norm3(items))))
        return items + self.dropout(self.linear2(hidden))


def sinusoidal_code(positions: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of `positions` (N,) at geometric frequencies from 1 to 1/10000: (N, channels)."""
    half = channels // 2
    frequencies = torch.exp(torch.arange(half, device=positions.device) * (-math.log(10000.0) / (half - 1)))
    angles = positions.float()[:, None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, channels % 2))


def image_code(channels: int, height: int, width: int) -> Tensor:
    """Fixed code of a grid, row-major: (1, height*width, channels).

    The first half of the channels tells the column, the second the row.
    Within each half sine and cosine alternate, at frequencies from 1 down to 1/10000.
    """
    half = channels // 2
    frequencies = torch.exp(torch.arange(0, half, 2) * (-math.log(10000.0) / half))

    def along(length: int) -> Tensor:
        angles = torch.arange(length)[:, None] * frequencies
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

    columns = along(width)[None, :, :].expand(height, width, half)
    rows = along(height)[:, None, :].expand(height, width, half)
    return torch.cat([columns, rows], dim=-1).reshape(1, height * width, channels)
