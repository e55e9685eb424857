"""The vision transformer that HMR-Scorer sees pictures with: patches and task tokens through pre-norm encoder blocks.

Sources: Dosovitskiy et al., ICLR 2021 (the transformer); ViTPose (Xu et al., NeurIPS 2022: 256x192 pictures, patches of
16 px on a padded picture); SMPLer-X (Cai et al., NeurIPS 2023: task tokens beside the patches). Parameter names are
theirs, so that their encoders can be loaded as initialisation.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from torch import Tensor, cat, empty, nn

from models.attention import KeysValues, mixed_values
from models.precision import HALF

HEIGHT, WIDTH = 256, 192
"""Picture that the encoder takes, pixels."""
PATCH: Final = 16
ROWS, COLUMNS = HEIGHT // PATCH, WIDTH // PATCH
TASK_TOKENS: Final = 31
_PADDING = 2  # pixels around the picture, as in ViTPose: the patches reach over the left and upper edge
_SPREAD = 0.02  # standard deviation of initial weights


class VitSize(NamedTuple):
    """What the published encoders differ in."""

    channels: int
    depth: int
    heads: int


VIT_SIZES: Final = {
    "vit_s": VitSize(384, 12, 12),
    "vit_b": VitSize(768, 12, 12),
    "vit_l": VitSize(1024, 24, 16),
    "vit_h": VitSize(1280, 32, 16),
}


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = mixed_values(query, KeysValues(key, value))
        return self.proj(mixed.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Self-attention and feed-forward, pre-norm, with residuals."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        layers = OrderedDict(
            fc1=nn.Linear(channels, 4 * channels), act=nn.GELU(), fc2=nn.Linear(4 * channels, channels)
        )
        self.mlp = nn.Sequential(layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        kind = self.attn.qkv.weight.dtype
        tokens = tokens + self.attn(self.norm1(tokens).to(kind))
        return tokens + self.mlp(self.norm2(tokens).to(kind))


class VisionTransformer(nn.Module):
    """Pictures -> a feature map, and what the task tokens gathered."""

    def __init__(self, size: VitSize) -> None:
        super().__init__()
        channels = size.channels
        self.task_tokens = nn.Parameter(empty(1, TASK_TOKENS, channels))
        # One place more than patches: the pre-trained encoders had a class token, whose place is added to all patches.
        self.pos_embed = nn.Parameter(empty(1, ROWS * COLUMNS + 1, channels))
        patches = nn.Conv2d(3, channels, kernel_size=PATCH, stride=PATCH, padding=_PADDING)
        self.patch_embed = nn.Sequential(OrderedDict(proj=patches))
        self.blocks = nn.ModuleList(EncoderBlock(channels, size.heads) for _ in range(size.depth))
        self.last_norm = nn.LayerNorm(channels, eps=1e-6)
        for table in (self.task_tokens, self.pos_embed):
            nn.init.trunc_normal_(table, std=_SPREAD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_SPREAD)
                nn.init.zeros_(module.bias)

    def halve(self) -> None:
        """From now on compute patches, attention and feed-forward in bfloat16: for scoring, not for training.

        Normalisations and the sums along the residual path keep 32 bits.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(HALF)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            pictures: (B, 3, 256, 192) in [0, 1].

        Returns:
            (B, C, 16, 12) features and (B, 31, C) task tokens.
        """
        if tuple(pictures.shape[1:]) != (3, HEIGHT, WIDTH):
            raise ValueError(f"pictures must be (B, 3, {HEIGHT}, {WIDTH}), not {tuple(pictures.shape)}")
        patches = self.patch_embed(pictures.to(next(self.patch_embed.parameters()).dtype)).flatten(2).transpose(1, 2)
        patches = patches + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        tokens = cat([self.task_tokens.expand(len(patches), -1, -1), patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.last_norm(tokens)
        features = tokens[:, TASK_TOKENS:].transpose(1, 2).unflatten(2, (ROWS, COLUMNS))
        return features, tokens[:, :TASK_TOKENS]
