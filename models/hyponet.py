"""HypoNet: the denoiser over 29 joints (u, v, d) and 23 twists (cos, sin), conditioned on image features.

Source: ScoreHypo (Xu et al., CVPR 2024) and ADHMR (Shen et al., ICML 2025, section 3.1). Layer and parameter names
are those of the published checkpoints, so that they load; sizes come from `HypoNetConfig`.
"""

from copy import deepcopy
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import DecoderBlock, KeysValues, image_code_on, sinusoidal_code
from models.item_graph import MaskedLinear, neighbours, within
from models.precision import in_32_bits
from schemas.config.networks import JOINTS, TWISTS, HypoNetConfig


class Context(NamedTuple):
    """What the denoiser sees of B images."""

    image: Tensor
    """(B, C, H, W) coarse feature map of the crop, C = token width."""
    local: Tensor
    """(B, 52, L) features sampled at the encoder's own estimate of the joints and of the middle of the bones."""
    centre_joints: Tensor
    """(B, 87) the encoder's own estimate of the joints, normalised uvd; zeros where the encoder has none."""
    centre_twists: Tensor
    """(B, 46) the encoder's own estimate of the twists (cos, sin); zeros where the encoder has none."""

    def of(self, images: slice) -> "Context":
        """The context of some of the images."""
        return Context(*(part[images] for part in self))


class HypoNet(nn.Module):
    """One denoising step of M hypotheses for each of B images.

    With `residual` the network's output is added to its input, as published (noise prediction); without it the bare
    output is returned, for parameterisations that bring their own skip connection.
    """

    def __init__(self, config: HypoNetConfig, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        width, joint_channels = config.width, config.joint_channels
        linked = neighbours(JOINTS, TWISTS)
        # Reach is measured on the graph of all items: two joints can be near each other through a twist.
        near = within(linked, config.start_hops)
        near_joints, near_twists = near[:JOINTS, :JOINTS], near[JOINTS:, JOINTS:]
        self.linear_start_j = MaskedLinear(near_joints, 3, joint_channels)
        self.bn_start_j = nn.GroupNorm(config.norm_groups, JOINTS * joint_channels)
        self.linear_start_t = MaskedLinear(near_twists, 2, joint_channels)
        self.bn_start_t = nn.GroupNorm(config.norm_groups, TWISTS * joint_channels)
        self.dropout_start = nn.Dropout(config.start_dropout)
        self.linear_final_j = MaskedLinear(near_joints, width, 3)
        self.linear_final_t = MaskedLinear(near_twists, width, 2)
        self.blocks = nn.ModuleList(
            DecoderBlock(width, config.heads, config.feedforward_ratio, config.block_dropout)
            for _ in config.attention_hops
        )
        self.temb_dense = nn.ModuleList(
            [nn.Linear(config.time_channels, config.time_channels * 4), nn.Linear(config.time_channels * 4, width)]
        )
        self.time_channels = config.time_channels
        self.register_buffer("item_code", sinusoidal_code(torch.arange(JOINTS + TWISTS), width)[None], persistent=False)
        for index, hops in enumerate(config.attention_hops):
            barred = ~within(linked, hops)
            self.register_buffer(f"blocked_{index}", barred if barred.any() else None, persistent=False)

    def look(self, context: Context) -> tuple[KeysValues, ...]:
        """What each block sees of the B images: the same for all hypotheses and all steps."""
        image = context.image.flatten(2).transpose(1, 2)
        grid_code = image_code_on(image.shape[-1], *context.image.shape[2:], image.device, image.dtype)
        blocks = (cast(DecoderBlock, block) for block in self.blocks)
        return tuple(block.see(image, grid_code) for block in blocks)

    def forward(
        self,
        joints: Tensor,
        twists: Tensor,
        time: Tensor,
        context: Context,
        seen: tuple[KeysValues, ...] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Denoise once.

        Args:
            joints: (B*M, 87) scaled noisy joints, image-major (all hypotheses of image 0 first).
            twists: (B*M, 46) scaled noisy twists.
            time: (B*M,) timestep, or any scalar that tells the noise level.
            context: features of the B images.
            seen: what `look` gave of them; looks itself if it isn't given.

        Returns:
            (B*M, 87) and (B*M, 46): the network's output for joints and twists.
        """
        batch = context.image.shape[0]
        if joints.shape[0] % batch:
            raise ValueError(f"{joints.shape[0]} hypotheses can't be shared out among {batch} images")
        seen = self.look(context) if seen is None else seen
        with in_32_bits(joints.device):
            tokens = self._tokens(joints, twists, time, context)
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, self.item_code, seen[index], getattr(self, f"blocked_{index}"))
        with in_32_bits(joints.device):
            out_joints = self.linear_final_j(tokens[:, :JOINTS].flatten(1))
            out_twists = self.linear_final_t(tokens[:, JOINTS:].flatten(1))
        if self.residual:
            return out_joints + joints, out_twists + twists
        return out_joints, out_twists

    def halved(self) -> "HypoNet":
        """A copy for drawing, not for training, whose blocks compute in bfloat16.

        The few products before and behind the blocks keep 32 bits, and so do noise and pose.
        """
        copy = deepcopy(self)
        for block in copy.blocks:
            cast(DecoderBlock, block).halve()
        return copy

    def _tokens(self, joints: Tensor, twists: Tensor, time: Tensor, context: Context) -> Tensor:
        """(B*M, 52, C) items of noisy poses, each with its local features and its time; arguments as of `forward`."""
        tokens = torch.cat(
            [
                self._start(joints, self.linear_start_j, self.bn_start_j, JOINTS),
                self._start(twists, self.linear_start_t, self.bn_start_t, TWISTS),
            ],
            dim=1,
        )
        local = context.local.repeat_interleave(joints.shape[0] // context.local.shape[0], dim=0)
        time_code = sinusoidal_code(time, self.time_channels).to(tokens)
        for dense in self.temb_dense:
            time_code = F.silu(dense(time_code))
        return torch.cat([tokens, local], dim=-1) + time_code[:, None]

    def _start(self, values: Tensor, linear: nn.Module, norm: nn.Module, items: int) -> Tensor:
        hidden = F.leaky_relu(norm(linear(values)), 0.2)
        return self.dropout_start(hidden).unflatten(1, (items, -1))
