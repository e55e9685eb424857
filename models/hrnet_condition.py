"""The published condition network: HRNet-W48 at 256x256 with heads for context, betas and 2D joints.

Source: ScoreHypo (Xu et al., CVPR 2024, section 3.2), as ADHMR uses it. It plays the part that the compact encoder
plays at tiny size. It estimates joints in the image plane and betas; of depths and twists it has no estimate.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.condition import PoseEstimate, item_points, sample_map
from models.hrnet import POOLED, SUMMARY, HRNet
from models.hyponet import Context
from models.precision import halve_convolutions, in_32_bits_or_more
from models.skeleton import BETAS
from schemas.config.networks import JOINTS, TWISTS, ConditionConfig

MEAN = (0.406, 0.457, 0.480)
"""Mean of the pixels in R, G, B, each in [0, 1]. These are ImageNet's constants for B, G, R; the published weights were
trained with them on R, G, B, and need them so."""
SPREAD = (0.225, 0.224, 0.229)
"""Standard deviation of the pixels, likewise."""
_MAPS = ("fmap_layer", "fmap_layer_local", "hmap_layer")
SHARPNESS = 15.0
"""Factor on the heatmaps before their softmax."""


class Features(NamedTuple):
    """What HRNet's heads say of B crops."""

    image: Tensor
    """(B, C, S/32, S/32) context of the whole crop."""
    local_map: Tensor
    """(B, L, S/4, S/4) local features."""
    heat: Tensor
    """(B, 29, S/4, S/4) log-probability of each joint's place."""
    uv: Tensor
    """(B, 29, 2) joints in [-1, 1]: the mean place under `heat`."""
    summary: Tensor
    """(B, 1024, S/32, S/32) what `image` was made from."""


class HRNetFeatures(HRNet):
    """HRNet with the heads that policy and ScoreNet share; published as the condition network of the ScoreNet.

    Crops come in as from everywhere in this project, in [-1, 1]; the normalisation that the published weights expect
    happens here. With `betas` there is a head for the shape beside the others.
    """

    mean: Tensor
    spread: Tensor
    init_shape: Tensor

    def __init__(self, token_width: int, local_channels: int, width: int = 48, betas: bool = False) -> None:
        super().__init__(width)
        if betas:
            # The shape that the head's output is added to; checkpoints bring the value.
            self.register_buffer("init_shape", torch.zeros(BETAS))
            self.pred_beta = nn.Linear(POOLED, BETAS)
        self.fmap_layer = nn.Conv2d(SUMMARY, token_width, 1)
        self.fmap_layer_local = nn.Conv2d(width, local_channels, 1)
        self.hmap_layer = nn.Conv2d(local_channels, JOINTS, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD).view(1, 3, 1, 1), persistent=False)

    def features(self, images: Tensor) -> Features:
        """Encode normalised images (B, 3, S, S)."""
        branches = self.branches(images)
        summary = in_32_bits_or_more(self.summary(branches))
        local_map = self.fmap_layer_local(in_32_bits_or_more(branches[0]))
        heat, uv = soft_argmax(self.hmap_layer(local_map))
        return Features(self.fmap_layer(summary), local_map, heat, uv, summary)

    def heads(self) -> nn.ModuleList:
        """What ImageNet's and pose networks of this kind lack: what makes features, joints and betas of the maps."""
        names = ("incre_modules", "downsamp_modules", "final_feat_layer", "pred_beta", *_MAPS)
        return nn.ModuleList(getattr(self, name) for name in names if hasattr(self, name))

    def halve(self) -> None:
        """From now on compute all but the heads in bfloat16: for drawing, not for training."""
        halve_convolutions(self, ("pred_beta", "final_feat_layer", *_MAPS))

    def normalised(self, crops: Tensor) -> Tensor:
        """Crops in [-1, 1] -> images as the published weights expect them."""
        return ((crops + 1) * 0.5 - self.mean) / self.spread


class HRNetCondition(HRNetFeatures):
    """Crop -> what HypoNet sees of it (`Context`), and the encoder's own estimate; an alternative to the compact
    `ConditionNetwork`."""

    def __init__(self, config: ConditionConfig, token_width: int, local_channels: int, width: int = 48) -> None:
        super().__init__(token_width, local_channels, width, betas=True)
        self.swapped_twist_points = config.swapped_twist_points

    def forward(self, crops: Tensor) -> tuple[Context, PoseEstimate]:
        """Encode `crops` (B, 3, S, S), values in [-1, 1].

        Of the estimate the depths and the twists are zero, and so are the context's centres.
        """
        return self.encode(self.normalised(crops))

    def encode(self, images: Tensor) -> tuple[Context, PoseEstimate]:
        """The same from normalised images (B, 3, S, S)."""
        heads = self.features(images)
        points = item_points(heads.uv, self.swapped_twist_points)
        local = sample_map(heads.local_map, points, corners=True)
        no_joints, no_twists = heads.uv.new_zeros(len(images), JOINTS * 3), heads.uv.new_zeros(len(images), TWISTS * 2)
        betas = self.pred_beta(self.final_feat_layer(heads.summary).mean((2, 3))) + self.init_shape
        estimate = PoseEstimate(F.pad(heads.uv, (0, 1)), no_twists.unflatten(1, (TWISTS, 2)), betas, heads.heat)
        return Context(heads.image, local, no_joints, no_twists), estimate


def soft_argmax(heat: Tensor) -> tuple[Tensor, Tensor]:
    """Heatmaps (B, J, H, W) -> their log-probabilities (B, J, H, W), and mean places (B, J, 2), x then y, in [-1, 1].

    As published there is no half-pixel offset: the first column stands for -1.
    """
    wide = in_32_bits_or_more(heat.flatten(2))
    logarithms = torch.log_softmax(SHARPNESS * wide, dim=-1).unflatten(-1, heat.shape[2:])
    weight = logarithms.exp()
    places = []
    for summed, side in ((2, heat.shape[3]), (3, heat.shape[2])):
        centres = torch.arange(side, device=heat.device, dtype=weight.dtype) * (2.0 / side) - 1.0
        places.append((weight.sum(summed) * centres).sum(-1))
    return logarithms, torch.stack(places, dim=-1)
