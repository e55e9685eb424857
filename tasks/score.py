"""The work of scoring: what HMR-Scorer says of hypotheses. No label is read."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit

from infra.shards import Shard
from infra.store import Store
from models.cameras import mirror_joints, mirror_twist
from models.hmr_scorer import HMRScorer
from models.precision import products_of
from schemas.config.stages import ScoreConfig
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import not_finite
from tasks.half_encoder import some_of
from tasks.half_scorer import Posed, check_half_scorer
from tasks.rows.crops import crop_tensor
from tasks.rows.hypotheses import read_hypotheses
from tasks.rows.instances import load_instances
from tasks.rows.models import load_scorer
from tasks.rows.scores import Scored, scores_table

if TYPE_CHECKING:
    from tasks.stages.score import Score


class HypothesisScorer:
    """Scores hypotheses, on arrays."""

    def __init__(self, scorer: HMRScorer, config: ScoreConfig, *, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.scorer = scorer.to(self.device).eval().requires_grad_(False)
        halves = {"decoder": config.precision == "bfloat16", "encoder": config.encoder_precision == "bfloat16"}
        if any(halves.values()):
            self.scorer = self.scorer.halved(**halves)
        if config.compile:
            self.scorer = self.scorer.compiled()
        self.config = config

    def __call__(
        self, crops: np.ndarray, uvd: np.ndarray, twists: np.ndarray, betas: np.ndarray | None = None
    ) -> np.ndarray:
        """The scores alone (N, M); as `of`."""
        return self.of(crops, uvd, twists, betas).scores

    def of(self, crops: np.ndarray, uvd: np.ndarray, twists: np.ndarray, betas: np.ndarray | None = None) -> Scored:
        """Scores in (0, 1), float64; NaN where the scorer gives a number that is not finite.

        Args:
            crops: (N, S, S, 3) uint8.
            uvd: (N, M, 29, 3) normalised; twists: (N, M, 23, 2).
            betas: (N, M, 10), read by a scorer that sees them.
        """
        scorer = self.scorer.config
        raw = np.empty((*uvd.shape[:2], scorer.score_heads), np.float64)
        given = (uvd, twists, betas) if scorer.sees_betas and betas is not None else (uvd, twists)
        for rows, used in microbatches(len(crops), self.config.microbatch):
            inputs = [torch.from_numpy(part[rows]).to(self.device) for part in given]
            with products_of(self.config.precision):
                made = self._raw(crop_tensor(crops[rows], self.device), *inputs)
            raw[rows[:used]] = made.cpu().numpy()[:used]
        raw[~np.isfinite(raw)] = np.nan
        # in double precision, or large scores would all round to the same 1
        scores = expit(scorer.sharpness * raw.mean(-1))
        if scorer.score_heads == 1:
            return Scored(scores)
        return Scored(scores, expit(scorer.sharpness * raw).std(-1, ddof=1))

    @torch.no_grad()
    def _raw(self, crops: torch.Tensor, uvd: torch.Tensor, twists: torch.Tensor, *betas: torch.Tensor) -> torch.Tensor:
        """(B, M, heads)"""
        raw = self.scorer.scores(*self.scorer.encode(crops), uvd, twists, *betas)
        if not self.config.mirror:
            return raw
        mirrored = mirror_joints(uvd), mirror_twist(twists), *betas
        return (raw + self.scorer.scores(*self.scorer.encode(crops.flip(-1)), *mirrored)) / 2


def checked_scorer(
    store: Store,
    digest: ModelDigest,
    config: ScoreConfig,
    device: str,
    drawn: StageKey,
    some: Callable[[], Posed],
) -> HypothesisScorer:
    """The scorer with this digest. ConfigError as of `check_half_scorer`, where its encoder is to have 16 bits, on
    `some` of the hypotheses that the stage `drawn` has drawn, or draws."""
    scorer = load_scorer(store, digest)
    score = HypothesisScorer(scorer, config, device=device)
    if config.encoder_precision == "bfloat16":
        in_32_bits = {"precision": "float32", "encoder_precision": "float32"}
        full = HypothesisScorer(scorer, config.model_copy(update=in_32_bits), device=device)
        how = {"mirror": config.mirror, "precision": config.precision, "device": torch.device(device).type}
        about = {"drawn": drawn, **how}
        check_half_scorer(score, full, store, digest, about, some)
    return score


class ScoreWorker(ModelWorker):
    """Scores the hypotheses of a shard's instances."""

    def __init__(self, stage: "Score", context: Context) -> None:
        super().__init__(context)
        self.stage = stage
        config, drawn = context.config.score, stage.generation
        self.score = checked_scorer(
            self.store, stage.scorer, config, self.device, drawn, lambda: self._some(some_of(stage.ids(context)))
        )

    def _some(self, ids: list[str]) -> Posed:
        stored = read_hypotheses(self.store, self.stage.generation, ids)
        people = load_instances(self.store, self.stage.ingests, stored.ids)
        shown = stored.hypotheses
        return Posed(people.crops, shown.uvd, shown.twists, shown.betas)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of `scores`, sorted by instance and sample."""
        stage = self.stage
        stored = read_hypotheses(self.store, stage.generation, shard.ids)
        instances = load_instances(self.store, stage.ingests, stored.ids)
        shown = stored.hypotheses
        scores, disagreement = self.score.of(instances.crops, shown.uvd, shown.twists, shown.betas)
        good = np.isfinite(scores).all(axis=1)
        rows = np.flatnonzero(good)
        named = stage.generation, stored.ids, stored.samples
        apart = shown.spread_mm(instances.reach, stored.samples)
        table = scores_table(*named, scores, stage.scorer, self.partition, rows, disagreement, apart)
        return ShardOutput({"scores": table}, not_finite(stored.ids, good, "the scores"), ok=len(rows))
