"""HMR-Scorer: trained to order hypotheses of labelled crops by their error.

Hypotheses are samples of the base policy, drawn and measured once before training, and blends of label and sample. On
truth plus noise alone, the published way, a scorer learns to tell noise, not errors that a policy really makes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.condition import ConditionNetwork, PoseEstimate
from models.hmr_scorer import HMRScorer
from models.objectives import error_to_score, rank_loss
from models.policy import Policy
from schemas.config.networks import ScorerConfig
from schemas.config.training import TrainScorerConfig
from schemas.errors import ConfigError
from tasks.train.augment import Augmentation
from tasks.train.data import LabelledBatch, LabelledCrops, estimate_loss


@dataclass(frozen=True)
class HypothesisPool:
    """For each of N crops S samples of the policy, then blends between label and sample: K hypotheses."""

    uvd: np.ndarray
    """(N, K, 29, 3) normalised."""
    twists: np.ndarray
    """(N, K, 23, 2) unit (cos, sin)."""
    errors_mm: np.ndarray
    """(N, K) mesh error (MPVPE) of each, mm."""
    samples: int
    """S: how many of the K are samples."""


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
        if network.condition.kind != "compact" and (config.start_from_policy or config.encoder_steps):
            raise ConfigError(
                f"scorer.condition.kind={network.condition.kind} does not start from the policy's encoder and makes no "
                "pose estimate of its own: set train_scorer.start_from_policy=False and train_scorer.encoder_steps=0."
            )
        torch.manual_seed(config.seed)
        self.model: HMRScorer = HMRScorer(network).to(device).train()
        if config.start_from_policy:
            if not isinstance(policy.condition, ConditionNetwork):
                raise ConfigError(
                    f"The scorer's encoder can't start from the policy's, which has condition.kind="
                    f"{policy.config.condition.kind}: set train_scorer.start_from_policy=False."
                )
            self.model.encoder.load_state_dict(policy.condition.backbone.state_dict())

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Encoder and ScoreNet with its projections."""
        encoder = list(self.model.encoder.parameters())
        held = {id(parameter) for parameter in encoder}
        return {"encoder": encoder, "rest": [p for p in self.model.parameters() if id(p) not in held]}

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """One batch: the encoder's own estimate, and after `encoder_steps` the ranking of hypotheses beside it."""
        config = self.config
        rows = draw.choice(len(self.data), config.batch_images, replace=len(self.data) < config.batch_images)
        change = Augmentation.draw(config.augment, draw, len(rows), self.device)
        batch = self.data.batch(rows, self.device).augmented(change)
        if step < config.encoder_steps:
            own = self._own(self.model.encode(batch.crops)[1], batch)
            return own, {"estimate": own.item()}
        picks = self._picks(draw)
        uvd, twists, errors = (
            torch.from_numpy(part[rows[:, None], picks]).to(self.device)
            for part in (self.pool.uvd, self.pool.twists, self.pool.errors_mm)
        )
        pyramid, estimate = self.model.encode(batch.crops)
        raw = self.model.score(pyramid, estimate, change.uvd(uvd), change.twists(twists))
        ranking = rank_loss(raw, errors, config.rank_sigma).mean()
        target = error_to_score(errors, config.best_mm, config.worst_mm)
        score_error = (torch.sigmoid(self.model.config.sharpness * raw) - target).square().mean()
        own = self._own(estimate, batch)
        figures = {"rank": ranking.item(), "score": score_error.item(), "estimate": own.item()}
        return ranking + config.score_weight * score_error + own, figures

    def _own(self, estimate: PoseEstimate | None, batch: LabelledBatch) -> Tensor:
        """Loss of the encoder's own estimate; zero for an encoder that makes none."""
        if estimate is None:
            return torch.zeros((), device=self.device)
        return estimate_loss(estimate, batch, self.config.estimate)

    def _picks(self, draw: np.random.Generator) -> np.ndarray:
        """(B, H) columns of the pool: different samples first, different blends behind them."""
        config, pool = self.config, self.pool
        images = config.batch_images
        samples = draw.permuted(np.tile(np.arange(pool.samples), (images, 1)), axis=1)[:, : config.samples]
        blends = np.arange(pool.samples, pool.uvd.shape[1])
        blended = draw.permuted(np.tile(blends, (images, 1)), axis=1)[:, : config.blends]
        return np.concatenate([samples, blended], axis=1)
