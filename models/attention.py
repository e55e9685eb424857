"""Attention over the items of a hypothesis (29 joints, 23 twists) and over the image, shared by HypoNet and HMR-Scorer.

The block is a pre-norm transformer decoder layer (self-attention, cross-attention to the image, feed-forward) whose
queries and keys carry fixed position codes. Parameter names are those of the published checkpoints.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.precision import HALF


class KeysValues(NamedTuple):
    """What is looked at, ready for the heads."""

    keys: Tensor
    """(B, H, P, C/H) of P tokens and H heads."""
    values: Tensor
    """(B, H, P, C/H)."""

    def of(self, images: slice) -> "KeysValues":
        """Those of some of the B images."""
        return KeysValues(self.keys[images], self.values[images])


class Attention(nn.MultiheadAttention):
    """Multi-head attention with torch's parameter names and the fused kernel of `scaled_dot_product_attention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, batch_first=True)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None = None) -> Tensor:
        """Attention of `query` (B, Q, C) over `key`, `value` (B, K, C).

        `blocked` (Q, K) is true where looking is barred.
        """
        return self.look(query, self.keys_values(key, value), blocked)

    def keys_values(self, key: Tensor, value: Tensor) -> KeysValues:
        """What `look` needs of `key` and `value` (B, K, C): made once, it serves any number of looks."""
        _, weight_k, weight_v = self.projection().chunk(3)
        _, bias_k, bias_v = self.in_proj_bias.chunk(3)
        return KeysValues(
            self._split(F.linear(key, weight_k, bias_k)),
            self._split(F.linear(value, weight_v, bias_v)),
        )

    def look(self, query: Tensor, seen: KeysValues, blocked: Tensor | None = None) -> Tensor:
        """Attention of `query` (B, Q, C); `blocked` as in `attend`."""
        weight, bias = self.projection().chunk(3)[0], self.in_proj_bias.chunk(3)[0]
        mixed = mixed_values(self._split(F.linear(query, weight, bias)), seen, blocked)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def projection(self) -> Tensor:
        """(3C, C) weight that makes queries, keys and values."""
        return self.in_proj_weight

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def mixed_values(query: Tensor, seen: KeysValues, blocked: Tensor | None = None) -> Tensor:
    """Values, mixed as `query` (B, H, Q, C/H) looks: (B, H, Q, C/H)."""
    if query.device.type != "cpu" or query.dtype != HALF:
        return F.scaled_dot_product_attention(query, *seen, attn_mask=None if blocked is None else ~blocked)
    # On the CPU the fused kernel takes twice as long in bfloat16 as the two products with a softmax between them.
    queries, keys, values = (part.flatten(0, 1) for part in (query, *seen))
    barred = queries.new_zeros(1, 1, 1) if blocked is None else queries.new_zeros(blocked.shape)
    if blocked is not None:
        barred = barred.masked_fill_(blocked, -math.inf)[None]
    chance = torch.baddbmm(barred, queries, keys.transpose(1, 2), alpha=query.shape[-1] ** -0.5)
    # of other lengths than multiples of a register's 32 numbers, a softmax in bfloat16 takes twice as long
    chance = chance.softmax(-1) if keys.shape[1] % 32 == 0 else chance.softmax(-1, dtype=torch.float32)
    mixed = torch.bmm(chance.to(values.dtype), values)
    return mixed.unflatten(0, query.shape[:2])


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

    def see(self, image: Tensor, image_code: Tensor) -> KeysValues:
        """What the block sees of B images, for all their hypotheses and all steps.

        `image` (B, P, C) are their tokens, `image_code` (1, P, C) the position code of these.
        """
        kind = self.linear1.weight.dtype
        return self.multihead_attn.keys_values((image + image_code).to(kind), image.to(kind))

    def forward(self, items: Tensor, item_code: Tensor, seen: KeysValues, blocked: Tensor | None) -> Tensor:
        """One block.

        Args:
            items: (B*M, I, C) tokens of M hypotheses an image, image-major.
            item_code: (1, I, C) position code of the items.
            seen: what `see` gave of the B images.
            blocked: (I, I) true where an item may not look at another, or None.
        """
        kind = self.linear1.weight.dtype
        item_code = item_code.to(kind)
        normed = self.norm1(items).to(kind)
        placed = normed + item_code
        items = items + self.dropout(self.self_attn.attend(placed, placed, normed, blocked))
        # The hypotheses of one image are folded into one long query, so that the image is projected once for all.
        query = (self.norm2(items).to(kind) + item_code).reshape(seen.keys.shape[0], -1, items.shape[-1])
        looked = self.multihead_attn.look(query, seen)
        items = _added(items, self.dropout(looked.reshape_as(items)))
        # in place only without gradients: of a view, autograd would copy what it changed, three times over
        hidden = F.relu(self.linear1(self.norm3(items).to(kind)), inplace=not torch.is_grad_enabled())
        hidden = self.dropout(hidden)
        return _added(items, self.dropout(self.linear2(hidden)))

    def halve(self) -> None:
        """From now on compute the matrix products in bfloat16.

        Normalisations and the sums along the residual path keep 32 bits.
        """
        for part in (self.self_attn, self.multihead_attn, self.linear1, self.linear2):
            part.to(HALF)


def _added(items: Tensor, more: Tensor) -> Tensor:
    """The sum: in the place of `items`, where no gradient will ask for them."""
    return items + more if torch.is_grad_enabled() else items.add_(more)


def sinusoidal_code(positions: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of `positions` (N,) at geometric frequencies from 1 to 1/10000: (N, channels)."""
    half = channels // 2
    frequencies = torch.exp(torch.arange(half, device=positions.device) * (-math.log(10000.0) / (half - 1)))
    angles = positions.float()[:, None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, channels % 2))


@lru_cache(maxsize=32)
def image_code_on(channels: int, height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`image_code` where it is needed, made and sent there once. Not to be changed: all that look share it."""
    return image_code(channels, height, width).to(device, dtype)


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
