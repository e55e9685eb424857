"""HMR-Scorer: trained to order hypotheses of labelled crops by their error.

Hypotheses are samples of the base policy, drawn once before training, and blends between label and sample. On ground
truth plus noise alone, the published way, a scorer learns to tell noise, not errors that a policy really makes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.cameras import camera_from_uvd
from models.hmr_scorer import HMRScorer
from models.objectives import error_to_score, rank_loss
from models.policy import Policy
from schemas.config.networks import ScorerConfig
from schemas.config.training import TrainScorerConfig
from tasks.training.data import LabelledBatch, LabelledCrops, estimate_loss


@dataclass(frozen=True)
class HypothesisPool:
    """K policy samples for each of N crops."""

    uvd: np.ndarray
    """(N, K, 29, 3) normalised."""
    twists: np.ndarray
    """(N, K, 23, 2) unit (cos, sin)."""


class ScorerRecipe:
    """Rank loss, score loss and the encoder's own estimate."""

    def __init__(
        self,
        config: TrainScorerConfig,
        network: ScorerConfig,
        data: LabelledCrops,
        pool: HypothesisPool,
        policy: Policy,
        device: torch.device,
    ) -> None:
        self.config, self.data, self.pool, self.device, self.seed = config, data, pool, device, config.seed
        torch.manual_seed(config.seed)
        self.model: HMRScorer = HMRScorer(network).to(device).train()
        if config.start_from_policy:
            self.model.encoder.load_state_dict(policy.condition.backbone.state_dict())

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and ScoreNet with its projections."""
        encoder = list(self.model.encoder.parameters())
        held = {id(parameter) for parameter in encoder}
        return {"encoder": encoder, "rest": [p for p in self.model.parameters() if id(p) not in held]}

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """One batch: `samples` policy samples and `blends` blends a crop, ranked by their joint error."""
        config, size = self.config, self.model.config.condition.image_size
        rows = draw.choice(len(self.data), config.batch_images, replace=len(self.data) < config.batch_images)
        batch = self.data.batch(rows, self.device)
        uvd, twists = self._hypotheses(rows, batch, draw)
        intrinsics = torch.from_numpy(self.data.crop_intrinsics[rows]).to(self.device)
        root_depth = torch.from_numpy(self.data.root_depth[rows]).to(self.device)
        errors = joint_error_mm(uvd, batch.uvd, intrinsics, root_depth, size)
        pyramid, estimate = self.model.encode(batch.crops)
        raw = self.model.score(pyramid, estimate, uvd, twists)
        ranking = rank_loss(raw, errors, config.rank_sigma).mean()
        target = error_to_score(errors, config.best_mm, config.worst_mm)
        score_error = (torch.sigmoid(self.model.config.sharpness * raw) - target).square().mean()
        own = estimate_loss(estimate, batch, config.estimate)
        figures = {"rank": ranking.item(), "score": score_error.item(), "estimate": own.item()}
        return ranking + config.score_weight * score_error + own, figures

    def _hypotheses(self, rows: np.ndarray, batch: LabelledBatch, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Uvd (B, H, 29, 3) and twists (B, H, 23, 2): different pool samples first, blends behind them."""
        config, count = self.config, self.pool.uvd.shape[1]
        wanted = config.samples + config.blends
        picks = np.stack([draw.permutation(count)[np.arange(wanted) % count] for _ in rows])
        uvd = torch.from_numpy(self.pool.uvd[rows[:, None], picks]).to(self.device)
        twists = torch.from_numpy(self.pool.twists[rows[:, None], picks]).to(self.device)
        share = torch.from_numpy(draw.random((len(rows), config.blends, 1, 1), dtype=np.float32)).to(self.device)
        real = config.samples
        uvd[:, real:] += share * (batch.uvd[:, None] - uvd[:, real:])
        blended = twists[:, real:] + share * (batch.twists[:, None] - twists[:, real:])
        twists[:, real:] = nn.functional.normalize(blended, dim=-1, eps=1e-6)
        return uvd, twists


def joint_error_mm(uvd: Tensor, label_uvd: Tensor, intrinsics: Tensor, root_depth: Tensor, size: int) -> Tensor:
    """Mean distance of the 29 joints to the label's, root-relative, in mm: (B, M).

    Args:
        uvd: (B, M, 29, 3) hypotheses; label_uvd: (B, 29, 3); both normalised.
        intrinsics: (B, 4) crop camera; root_depth: (B,) metres, the label's for both.
    """
    batch, count = uvd.shape[:2]
    both = torch.cat([label_uvd[:, None], uvd], dim=1).flatten(0, 1)
    camera = camera_from_uvd(
        both, intrinsics.repeat_interleave(count + 1, 0), size, root_depth.repeat_interleave(count + 1, 0)
    ).view(batch, count + 1, 29, 3)
    relative = camera - camera[:, :, :1]
    return (relative[:, 1:] - relative[:, :1]).norm(dim=-1).mean(-1) * 1000.0
