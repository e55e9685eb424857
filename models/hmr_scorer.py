"""HMR-Scorer: the reward model.

An image and one hypothesis go in, a score comes out; higher is better; no label is needed.

With a vision transformer as encoder these are the published scorer's modules, key for key; with HRNet, those of
ScoreHypo's ScoreNet, which sees twists as well.

Source: ADHMR (Shen et al., ICML 2025, section 3.2), after ScoreHypo's ScoreNet (Xu et al., CVPR 2024, section 3.3).
"""

from copy import deepcopy
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import DecoderBlock, image_code_on, sinusoidal_code
from models.compilation import compiled
from models.condition import CompactBackbone, PoseEstimate, Pyramid, item_points, sample_map
from models.hrnet_condition import HRNetFeatures
from models.item_graph import MaskedLinear, neighbours, within
from models.limbs import under_limbs
from models.precision import HALF, halve_convolutions
from models.scorer_input import encoder_picture, upright_joints, upright_picture
from models.skeleton import BETAS
from models.vit import VIT_SIZES, VisionTransformer
from schemas.config.networks import JOINTS, ScorerConfig


class AbsentLayer(nn.Module):
    """A layer without elements: published state dicts name the twists' layers of a scorer that sees none."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(0))


class ScoreNet(nn.Module):
    """The decoder: tokens of a hypothesis look at each other and at the image, then one number is read off."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.config = config
        self.items = JOINTS + config.twists
        linked = neighbours(JOINTS, config.twists)
        near = within(linked, config.start_hops)
        joint_inputs = 6 if config.sees_own_estimate else 3
        self.linear_start_j = MaskedLinear(near[:JOINTS, :JOINTS], joint_inputs, config.joint_channels)
        self.bn_start_j = nn.GroupNorm(config.norm_groups, JOINTS * config.joint_channels)
        self.linear_start_t: nn.Module
        self.bn_start_t: nn.Module
        if config.twists:
            self.linear_start_t = MaskedLinear(near[JOINTS:, JOINTS:], 2, config.joint_channels)
            self.bn_start_t = nn.GroupNorm(config.norm_groups, config.twists * config.joint_channels)
        if config.condition.is_vit:
            channels = VIT_SIZES[config.condition.kind].channels
            self.linear_start_t, self.bn_start_t = AbsentLayer(0, 0), AbsentLayer(0)
            self.ctx_to_x_conv = nn.Conv2d(channels, config.width, 1)
            self.deconv = nn.Sequential(
                nn.ConvTranspose2d(channels, config.local_channels, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(config.local_channels),
                nn.ReLU(),
            )
        blocks = nn.ModuleList(
            DecoderBlock(config.width, config.heads, config.feedforward_ratio, config.dropout, norms_last=True)
            for _ in config.attention_hops
        )
        self.linear_mlp = self._head()
        if config.score_heads > 1:
            self.more_heads = nn.ModuleList(self._head() for _ in range(config.score_heads - 1))
        self.blocks = blocks
        self.register_buffer(
            "item_code", sinusoidal_code(torch.arange(self.items), config.width)[None], persistent=False
        )
        for index, hops in enumerate(config.attention_hops):
            barred = ~within(linked, hops)
            self.register_buffer(f"blocked_{index}", barred if barred.any() else None, persistent=False)

    def _head(self) -> nn.Sequential:
        """What reads a score off the tokens."""
        config, wide = self.config, self.config.hidden[0]
        last = nn.Linear(config.hidden[-1], 1)
        if config.sees_own_estimate:
            # Agreement with the own estimate ranks hypotheses well before the decoder has learned anything: the decoder
            # starts silent, and adds what it learns.
            nn.init.zeros_(last.weight)
        return nn.Sequential(
            nn.Linear(self.items * config.width, wide),
            nn.GroupNorm(config.norm_groups, wide),
            nn.LeakyReLU(0.2),
            nn.Dropout(config.dropout),
            *(nn.Linear(before, after) for before, after in pairwise(config.hidden)),
            last,
        )

    def forward(
        self, joint_inputs: Tensor, twists: Tensor, local: Tensor, image: Tensor, more: Tensor | None = None
    ) -> Tensor:
        """Raw scores, of each head.

        Args:
            joint_inputs: (B*M, 29*3) normalised uvd, or (B*M, 29*6) with the difference to the own estimate; item-
            major.
            twists: (B*M, 23*2) (cos, sin); not read where the scorer sees no twists.
            local: (B*M, items, L) image features at the hypothesis's own points.
            image: (B, C, H, W) coarse feature map.
            more: (B*M, width) what else is seen of the hypothesis, added to all tokens.

        Returns:
            (B*M, heads) raw scores.
        """
        tokens = self._start(joint_inputs, self.linear_start_j, self.bn_start_j, JOINTS)
        if self.config.twists:
            of_twists = self._start(twists, self.linear_start_t, self.bn_start_t, self.config.twists)
            tokens = torch.cat([tokens, of_twists], dim=1)
        tokens = torch.cat([tokens, local], dim=-1)
        if more is not None:
            tokens = tokens + more[:, None]
        grid_code = image_code_on(image.shape[1], *image.shape[2:], image.device, image.dtype)
        image = image.flatten(2).transpose(1, 2)
        for index, block in enumerate(self.blocks):
            seen = cast(DecoderBlock, block).see(image, grid_code)
            tokens = block(tokens, self.item_code, seen, getattr(self, f"blocked_{index}"))
        return torch.stack([self._read(head, tokens.flatten(1)) for head in self.score_heads], dim=1)

    @property
    def score_heads(self) -> list[nn.Sequential]:
        """The heads: the first has the published name."""
        more = self.more_heads if self.config.score_heads > 1 else ()
        return [self.linear_mlp, *(cast(nn.Sequential, head) for head in more)]

    @staticmethod
    def _read(head: nn.Sequential, tokens: Tensor) -> Tensor:
        """(N,) raw scores of tokens (N, items * width)."""
        first = cast(nn.Linear, head[0])
        hidden = first(tokens.to(first.weight.dtype)).to(tokens.dtype)
        scores: Tensor = head[1:](hidden)[:, 0]
        return scores

    def halve(self) -> None:
        """From now on compute the blocks, and the wide products behind them, in bfloat16: for scoring, not training."""
        for block in self.blocks:
            cast(DecoderBlock, block).halve()
        for head in self.score_heads:
            head[0].to(HALF)

    def halve_maps(self) -> None:
        """From now on compute `maps` in bfloat16."""
        for part in (self.ctx_to_x_conv, self.deconv):
            halve_convolutions(nn.Sequential(part))

    def maps(self, features: Tensor) -> Pyramid:
        """Features (B, C, H, W) of a vision transformer -> maps (B, width, H, W) and (B, L, 2H, 2W) to look at."""
        features = features.to(self.ctx_to_x_conv.weight.dtype)
        return Pyramid(self.ctx_to_x_conv(features).float(), self.deconv(features).float())

    @staticmethod
    def _start(values: Tensor, linear: nn.Module, norm: nn.Module, items: int) -> Tensor:
        return F.leaky_relu(norm(linear(values)), 0.2).unflatten(1, (items, -1))


class HMRScorer(nn.Module):
    """Encoder and ScoreNet. State-dict prefixes: `encoder.` and `score_net.`."""

    encoder: CompactBackbone | HRNetFeatures | VisionTransformer

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.config = config
        if config.condition.is_vit:
            self.encoder = VisionTransformer(VIT_SIZES[config.condition.kind])
        elif config.condition.kind == "hrnet_w48":
            self.encoder = HRNetFeatures(config.width, config.local_channels)
        else:
            self.encoder = CompactBackbone(config.condition)
            self.to_context = nn.Conv2d(config.condition.widths[1], config.width, 1)
            self.to_local = nn.Linear(config.condition.map_channels, config.local_channels)
        self.score_net = ScoreNet(config)
        if config.sees_own_estimate:
            self.agreement = nn.Parameter(torch.tensor(3.0))
        # what the published scorer is blind to starts silent
        if config.sees_betas:
            self.betas_in = silent(BETAS, config.width)
        if config.silhouette == "limbs":
            self.limbs_in = silent(2 * config.condition.map_channels, config.width)

    def halved(self, decoder: bool, encoder: bool) -> "HMRScorer":
        """A copy for scoring, not for training, whose decoder, or encoder, or both compute in bfloat16."""
        copy = deepcopy(self)
        if decoder:
            copy.score_net.halve()
        if encoder:
            copy.encoder.halve()
            if copy.config.condition.is_vit:
                copy.score_net.halve_maps()
        return copy

    def compiled(self) -> "HMRScorer":
        """A form for scoring whose decoder and encoder are compiled, as `models.compilation` has it."""
        form = deepcopy(self)
        form.score_net, form.encoder = compiled(form.score_net), compiled(form.encoder)
        return form

    def encode(self, crops: Tensor) -> tuple[Pyramid, PoseEstimate | None]:
        """Crops (B, 3, S, S) in [-1, 1] -> features, to be used for many hypotheses, and the encoder's own estimate.

        The published encoders have no estimate of their own; a vision transformer takes crops of any size.
        """
        if isinstance(self.encoder, VisionTransformer):
            return self.encode_upright(upright_picture(crops)), None
        if isinstance(self.encoder, HRNetFeatures):
            maps = self.encoder.features(self.encoder.normalised(crops))
            return Pyramid(maps.image, maps.local_map), None
        return self.encoder(crops)

    def score(
        self, pyramid: Pyramid, estimate: PoseEstimate | None, uvd: Tensor, twists: Tensor, betas: Tensor | None = None
    ) -> Tensor:
        """Raw scores (B, M) of hypotheses: normalised uvd (B, M, 29, 3) and twists (B, M, 23, 2) of B encoded crops.

        `betas` (B, M, 10) are asked for by a scorer that sees them; ValueError if they are missing.
        """
        return self.scores(pyramid, estimate, uvd, twists, betas).mean(-1)

    def scores(
        self, pyramid: Pyramid, estimate: PoseEstimate | None, uvd: Tensor, twists: Tensor, betas: Tensor | None = None
    ) -> Tensor:
        """The same of each head, (B, M, heads)."""
        more = self._more(pyramid, uvd, betas)
        if isinstance(self.encoder, VisionTransformer):
            return self._upright(pyramid, upright_joints(uvd), more)
        points = item_points(uvd[..., :2], self.config.condition.swapped_twist_points)
        points = points[..., : self.score_net.items, :].flatten(1, 2)
        if isinstance(self.encoder, HRNetFeatures):
            local = sample_map(pyramid.fine, points, corners=True)
            return self._decode(uvd, twists, local, pyramid.coarse, more)
        local = self.to_local(sample_map(pyramid.fine, points))
        context = self.to_context(pyramid.coarse)
        if estimate is None or not self.config.sees_own_estimate:
            return self._decode(uvd, twists, local, context, more)
        deviation = uvd - estimate.uvd.detach()[:, None]
        raw = self._decode(torch.cat([uvd, deviation], dim=-1), twists, local, context, more)
        return raw - (self.agreement * deviation.norm(dim=-1).mean(-1))[..., None]

    def forward(self, crops: Tensor, uvd: Tensor, twists: Tensor, betas: Tensor | None = None) -> Tensor:
        """Scores in (0, 1), (B, M): sigmoid(sharpness * raw); shapes as in `score`."""
        return torch.sigmoid(self.config.sharpness * self.score(*self.encode(crops), uvd, twists, betas))

    def _more(self, pyramid: Pyramid, uvd: Tensor, betas: Tensor | None) -> Tensor | None:
        """(B, M, width) of what the published scorer is blind to; None for one that is blind to it."""
        parts = []
        if self.config.sees_betas:
            if betas is None:
                raise ValueError("this scorer sees betas: give those of the hypotheses")
            parts.append(self.betas_in(betas))
        if self.config.silhouette == "limbs":
            parts.append(self.limbs_in(under_limbs(pyramid.fine, uvd[..., :2], self.config.limb_radius)))
        return sum(parts[1:], parts[0]) if parts else None

    def encode_upright(self, pictures: Tensor) -> Pyramid:
        """The published scorer's own input, pictures (B, 3, 512, 384) in [0, 1] -> maps for `score_upright`."""
        features, _ = self.encoder(encoder_picture(pictures))
        return self.score_net.maps(features)

    def score_upright(self, pyramid: Pyramid, uvd: Tensor) -> Tensor:
        """Raw scores (B, M) of joints (B, M, 29, 3) normalised over the upright picture (`scorer_input`)."""
        return self._upright(pyramid, uvd, None).mean(-1)

    def _upright(self, pyramid: Pyramid, uvd: Tensor, more: Tensor | None) -> Tensor:
        twists = uvd.new_empty(*uvd.shape[:2], 0)
        return self._decode(uvd, twists, self.local_features(pyramid, uvd), pyramid.coarse, more)

    @staticmethod
    def local_features(pyramid: Pyramid, uvd: Tensor) -> Tensor:
        """(B, M*29, L) features at the joints (B, M, 29, 3) of hypotheses, normalised over the upright picture."""
        return sample_map(pyramid.fine, uvd[..., :2].flatten(1, 2), corners=True)

    def _decode(self, joints: Tensor, twists: Tensor, local: Tensor, context: Tensor, more: Tensor | None) -> Tensor:
        """(B, M, heads) from (B, M, 29, ...) joints, (B, M, ...) twists, (B, M*items, L) local features, the context
        and (B, M, width) of what else there is."""
        batch, count = joints.shape[:2]
        raw: Tensor = self.score_net(
            joints.reshape(batch * count, -1),
            twists.reshape(batch * count, -1),
            local.reshape(batch * count, self.score_net.items, -1),
            context,
            None if more is None else more.flatten(0, 1),
        )
        return raw.unflatten(0, (batch, count))


def silent(channels_in: int, channels_out: int) -> nn.Linear:
    """A layer that gives zeros until it has learned."""
    layer = nn.Linear(channels_in, channels_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
