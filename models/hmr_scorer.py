"""HMR-Scorer: the reward model.

An image and one hypothesis go in, a score comes out; higher is better; no label is needed.

Source: ADHMR (Shen et al., ICML 2025, section 3.2), after ScoreHypo's ScoreNet (Xu et al., CVPR 2024, section 3.3).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import DecoderBlock, image_code, sinusoidal_code
from models.condition import CompactBackbone, PoseEstimate, Pyramid, check_compact, item_points, sample_map
from models.item_graph import MaskedLinear, neighbours, within
from schemas.config.networks import JOINTS, ScorerConfig


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
        if config.twists:
            self.linear_start_t = MaskedLinear(near[JOINTS:, JOINTS:], 2, config.joint_channels)
            self.bn_start_t = nn.GroupNorm(config.norm_groups, config.twists * config.joint_channels)
        self.blocks = nn.ModuleList(
            DecoderBlock(config.width, config.heads, config.feedforward_ratio, config.dropout)
            for _ in config.attention_hops
        )
        wide, narrow = config.hidden
        last = nn.Linear(narrow, 1)
        if config.sees_own_estimate:
            # Agreement with the own estimate ranks hypotheses well before the decoder has learned anything: the decoder
            # starts silent, and adds what it learns.
            nn.init.zeros_(last.weight)
        self.linear_mlp = nn.Sequential(
            nn.Linear(self.items * config.width, wide),
            nn.GroupNorm(config.norm_groups, wide),
            nn.LeakyReLU(0.2),
            nn.Dropout(config.dropout),
            nn.Linear(wide, narrow),
            last,
        )
        self.register_buffer(
            "item_code", sinusoidal_code(torch.arange(self.items), config.width)[None], persistent=False
        )
        for index, hops in enumerate(config.attention_hops):
            barred = ~within(linked, hops)
            self.register_buffer(f"blocked_{index}", barred if barred.any() else None, persistent=False)

    def forward(self, joint_inputs: Tensor, twists: Tensor, local: Tensor, image: Tensor) -> Tensor:
        """Raw scores.

        Args:
            joint_inputs: (B*M, 29*3) normalised uvd, or (B*M, 29*6) with the difference to the own estimate; item-
            major.
            twists: (B*M, 23*2) (cos, sin); not read where the scorer sees no twists.
            local: (B*M, items, L) image features at the hypothesis's own points.
            image: (B, C, H, W) coarse feature map.

        Returns:
            (B*M,) raw scores.
        """
        tokens = self._start(joint_inputs, self.linear_start_j, self.bn_start_j, JOINTS)
        if self.config.twists:
            more = self._start(twists, self.linear_start_t, self.bn_start_t, self.config.twists)
            tokens = torch.cat([tokens, more], dim=1)
        tokens = torch.cat([tokens, local], dim=-1)
        grid_code = image_code(image.shape[1], *image.shape[2:]).to(image)
        image = image.flatten(2).transpose(1, 2)
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, self.item_code, image, grid_code, getattr(self, f"blocked_{index}"))
        return self.linear_mlp(tokens.flatten(1))[:, 0]

    @staticmethod
    def _start(values: Tensor, linear: nn.Module, norm: nn.Module, items: int) -> Tensor:
        return F.leaky_relu(norm(linear(values)), 0.2).unflatten(1, (items, -1))


class HMRScorer(nn.Module):
    """Encoder and ScoreNet. State-dict prefixes: `encoder.` and `score_net.`."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        check_compact(config.condition)
        self.config = config
        self.encoder = CompactBackbone(config.condition)
        self.to_context = nn.Conv2d(config.condition.widths[1], config.width, 1)
        self.to_local = nn.Linear(config.condition.map_channels, config.local_channels)
        self.score_net = ScoreNet(config)
        if config.sees_own_estimate:
            self.agreement = nn.Parameter(torch.tensor(3.0))

    def encode(self, crops: Tensor) -> tuple[Pyramid, PoseEstimate]:
        """Crops (B, 3, S, S) in [-1, 1] -> features and the encoder's own estimate, to be used for many hypotheses."""
        return self.encoder(crops)

    def score(self, pyramid: Pyramid, estimate: PoseEstimate, uvd: Tensor, twists: Tensor) -> Tensor:
        """Raw scores (B, M) of hypotheses: normalised uvd (B, M, 29, 3) and twists (B, M, 23, 2) of B encoded crops."""
        batch, count = uvd.shape[:2]
        points = item_points(uvd[..., :2])[..., : self.score_net.items, :]
        local = self.to_local(sample_map(pyramid.fine, points.flatten(1, 2)))
        inputs = uvd
        if self.config.sees_own_estimate:
            inputs = torch.cat([uvd, uvd - estimate.uvd.detach()[:, None]], dim=-1)
        raw = self.score_net(
            inputs.reshape(batch * count, -1),
            twists.reshape(batch * count, -1),
            local.reshape(batch * count, self.score_net.items, -1),
            self.to_context(pyramid.coarse),
        )
        raw = raw.view(batch, count)
        if self.config.sees_own_estimate:
            distance = (uvd - estimate.uvd.detach()[:, None]).norm(dim=-1).mean(-1)
            raw = raw - self.agreement * distance
        return raw

    def forward(self, crops: Tensor, uvd: Tensor, twists: Tensor) -> Tensor:
        """Scores in (0, 1), (B, M): sigmoid(sharpness * raw); shapes as in `score`."""
        return torch.sigmoid(self.config.sharpness * self.score(*self.encode(crops), uvd, twists))
