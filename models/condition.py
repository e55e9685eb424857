"""The compact image encoder: a small convolutional pyramid with a soft-argmax pose estimate of its own.

It plays the part that the HRNet condition network plays at paper size (ScoreHypo, section 3.2): coarse features of
the whole crop for cross-attention, and features sampled where the encoder itself believes the joints to be.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.hyponet import Context
from models.precision import halve_convolutions
from models.skeleton import PARENTS
from schemas.config.networks import JOINTS, TWISTS, ConditionConfig

if TYPE_CHECKING:
    from models.encoder_files import EncoderFile


class PoseEstimate(NamedTuple):
    """The encoder's own single guess, used as a place to look, as EDM's centre and as an auxiliary target."""

    uvd: Tensor
    """(B, 29, 3) normalised joints."""
    twists: Tensor
    """(B, 23, 2) (cos, sin), not normalised."""
    betas: Tensor
    """(B, 10) shape."""
    heat: Tensor
    """(B, 29, H, W) log-probability of each joint's place over the quarter-resolution map."""


class Pyramid(NamedTuple):
    """Feature maps of B crops."""

    coarse: Tensor
    """(B, C, H/8, W/8)."""
    fine: Tensor
    """(B, L, H/4, W/4)."""


def _convolution(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    # A patchifying stem (stride = kernel) has no overlap and needs no padding.
    padding = 0 if stride == kernel else kernel // 2
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False), nn.BatchNorm2d(channels_out)
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return F.relu(features + self.second(F.relu(self.first(features))))


class CompactBackbone(nn.Module):
    """Crop -> feature pyramid and pose estimate."""

    centres: Tensor

    def __init__(self, config: ConditionConfig) -> None:
        super().__init__()
        narrow, middle, wide = config.widths
        self.stem = _convolution(3, narrow, kernel=4, stride=4)
        self.quarter = nn.Sequential(*(ResidualBlock(narrow) for _ in range(config.blocks[0])))
        self.to_eighth = _convolution(narrow, middle, stride=2)
        self.eighth = nn.Sequential(*(ResidualBlock(middle) for _ in range(config.blocks[1])))
        self.to_sixteenth = _convolution(middle, wide, stride=2)
        self.sixteenth = nn.Sequential(*(ResidualBlock(wide) for _ in range(config.blocks[2])))
        self.wide_to_middle = nn.Conv2d(wide, middle, 1)
        self.middle_to_map = nn.Conv2d(middle, config.map_channels, 1)
        self.narrow_to_map = nn.Conv2d(narrow, config.map_channels, 1)
        self.map = _convolution(config.map_channels, config.map_channels)
        self.heat_and_depth = nn.Conv2d(config.map_channels, JOINTS * 2, 1)
        self.pooled = nn.Linear(wide, TWISTS * 2 + 10)
        side = config.image_size // 4
        centres = (torch.arange(side) + 0.5) * (2.0 / side) - 1.0
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, crops: Tensor) -> tuple[Pyramid, PoseEstimate]:
        """Encode `crops` (B, 3, S, S), values in [-1, 1]."""
        crops = crops.to(self.narrow_to_map.weight.dtype).contiguous(memory_format=torch.channels_last)
        quarter = self.quarter(F.relu(self.stem(crops)))
        eighth = self.eighth(F.relu(self.to_eighth(quarter)))
        sixteenth = self.sixteenth(F.relu(self.to_sixteenth(eighth)))
        coarse = F.relu(eighth + F.interpolate(self.wide_to_middle(sixteenth), scale_factor=2, mode="nearest"))
        upper = F.interpolate(self.middle_to_map(coarse), scale_factor=2, mode="nearest")
        fine = F.relu(self.map(F.relu(self.narrow_to_map(quarter) + upper)))
        coarse, fine, sixteenth = coarse.float(), fine.float(), sixteenth.float()
        pooled = self.pooled(sixteenth.mean((2, 3)))
        heat, depth = self.heat_and_depth(fine).chunk(2, dim=1)
        heat = torch.log_softmax(heat.flatten(2), dim=-1).unflatten(-1, heat.shape[2:])
        estimate = PoseEstimate(
            self._soft_argmax(heat, depth),
            pooled[:, : TWISTS * 2].unflatten(1, (TWISTS, 2)),
            pooled[:, TWISTS * 2 :],
            heat,
        )
        return Pyramid(coarse, fine), estimate

    def halve(self) -> None:
        """From now on compute all but the heads in bfloat16: for drawing, not for training."""
        halve_convolutions(self, ("heat_and_depth", "pooled"))

    def _soft_argmax(self, heat: Tensor, depth: Tensor) -> Tensor:
        """Expected u, v under the log-probabilities, and the depth map's mean under the same weights: (B, 29, 3)."""
        weight = heat.exp()
        u = (weight.sum(2) * self.centres).sum(-1)
        v = (weight.sum(3) * self.centres).sum(-1)
        return torch.stack([u, v, (weight * depth).sum((2, 3))], dim=-1)


def load_backbone(backbone: CompactBackbone, encoder: "EncoderFile") -> None:
    """Give a backbone the weights of an encoder's file, which is of its configuration."""
    backbone.load_state_dict({name: torch.from_numpy(value) for name, value in encoder.state.items()})


def item_points(uv: Tensor, swapped_twists: bool = False) -> Tensor:
    """Where the 52 items are in the crop: the joints (…, 29, 2), then the middle of each twist's bone -> (…, 52, 2).

    With `swapped_twists` u and v of the twists' points are exchanged. That is no place on the bone; but the published
    networks were trained with their twists looking there, and need it.
    """
    children = list(range(1, TWISTS + 1))
    parents = [PARENTS[child] for child in children]
    middles = (uv[..., children, :] + uv[..., parents, :]) * 0.5
    return torch.cat([uv, middles.flip(-1) if swapped_twists else middles], dim=-2)


def sample_map(features: Tensor, points: Tensor, corners: bool = False) -> Tensor:
    """Features (B, L, H, W) at `points` (B, N, 2) in [-1, 1], edges included: (B, N, L). Outside counts as zero.

    -1 and 1 are the outer edges of the map's first and last pixel; with `corners` their centres, as published networks
    need it.
    """
    sampled = F.grid_sample(features, points[:, None], align_corners=corners)
    return sampled[:, :, 0].transpose(1, 2)


class ConditionNetwork(nn.Module):
    """Crop -> what HypoNet sees of it (`Context`), and the encoder's own estimate."""

    def __init__(self, config: ConditionConfig, width: int, local_channels: int) -> None:
        super().__init__()
        self.backbone = CompactBackbone(config)
        self.to_context = nn.Conv2d(config.widths[1], width, 1)
        # The point itself is a feature: features alone do not tell where in the crop they were taken.
        self.to_local = nn.Linear(config.map_channels + 3, local_channels)

    def halve(self) -> None:
        """From now on compute all but the heads in bfloat16: for drawing, not for training."""
        self.backbone.halve()

    def forward(self, crops: Tensor) -> tuple[Context, PoseEstimate]:
        """Encode `crops` (B, 3, S, S), values in [-1, 1]."""
        pyramid, estimate = self.backbone(crops)
        return self.project(_looked(pyramid, estimate)), estimate

    def look(self, crops: Tensor) -> Context:
        """What the backbone alone makes of crops: all of a context that stays as it is where the backbone is frozen.

        Its image and local channels are the backbone's own; `project` makes those of a denoiser's tokens of them.
        """
        return _looked(*self.backbone(crops))

    def project(self, looked: Context) -> Context:
        """The context of crops that `look` has looked at."""
        return looked._replace(image=self.to_context(looked.image), local=self.to_local(looked.local))

    def projections(self) -> list[nn.Parameter]:
        """The parameters of `project`."""
        return [*self.to_context.parameters(), *self.to_local.parameters()]


def _looked(pyramid: Pyramid, estimate: PoseEstimate) -> Context:
    # Where to look is not trained through the sampling: the estimate learns from its own target.
    points = item_points(estimate.uvd.detach())
    local = torch.cat([sample_map(pyramid.fine, points[..., :2]), points], dim=-1)
    return Context(pyramid.coarse, local, estimate.uvd.flatten(1), estimate.twists.flatten(1))
