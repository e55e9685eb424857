"""Score: what HMR-Scorer says of every hypothesis. No label is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.special import expit

from infra.shards import Shard
from infra.store import Store
from infra.tables import read
from models.cameras import mirror_joints, mirror_twist
from models.hmr_scorer import HMRScorer
from models.precision import products_of
from schemas.config.stages import ScoreConfig
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey
from schemas.tables import build
from tasks.engine.context import Context
from tasks.engine.sharded import ShardOutput
from tasks.engine.stage import ShardedStage
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import not_finite
from tasks.rows.crops import crop_tensor
from tasks.rows.hypotheses import BY_SAMPLE, generated_ids, read_hypotheses, repeated
from tasks.rows.instances import among, load_instances
from tasks.rows.models import load_scorer


class HypothesisScorer:
    """Scores hypotheses, on arrays."""

    def __init__(self, scorer: HMRScorer, config: ScoreConfig, *, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.scorer = scorer.to(self.device).eval().requires_grad_(False)
        halves = {"decoder": config.precision == "bfloat16", "encoder": config.encoder_precision == "bfloat16"}
        if any(halves.values()):
            self.scorer = self.scorer.halved(**halves)
        self.config = config

    def __call__(self, crops: np.ndarray, uvd: np.ndarray, twists: np.ndarray) -> np.ndarray:
        """Scores (N, M) in (0, 1), float64; NaN where the scorer gives a number that is not finite.

        Args:
            crops: (N, S, S, 3) uint8.
            uvd: (N, M, 29, 3) normalised; twists: (N, M, 23, 2).
        """
        raw = np.empty(uvd.shape[:2], np.float64)
        for rows, used in microbatches(len(crops), self.config.microbatch):
            inputs = [torch.from_numpy(part[rows]).to(self.device) for part in (uvd, twists)]
            with products_of(self.config.precision):
                made = self._raw(crop_tensor(crops[rows], self.device), *inputs)
            raw[rows[:used]] = made.cpu().numpy()[:used]
        raw[~np.isfinite(raw)] = np.nan
        # in double precision, or large scores would all round to the same 1
        scores: np.ndarray = expit(self.scorer.config.sharpness * raw)
        return scores

    @torch.no_grad()
    def _raw(self, crops: torch.Tensor, uvd: torch.Tensor, twists: torch.Tensor) -> torch.Tensor:
        raw = self.scorer.score(*self.scorer.encode(crops), uvd, twists)
        if not self.config.mirror:
            return raw
        mirrored = self.scorer.score(*self.scorer.encode(crops.flip(-1)), mirror_joints(uvd), mirror_twist(twists))
        return (raw + mirrored) / 2


@dataclass(frozen=True)
class Score(ShardedStage):
    """Scores every hypothesis of a generation -> table `scores`.

    `ingests` hold its people. An instance for which the scorer gives a number that is not finite ends in `failures`.
    """

    generation: StageKey
    ingests: tuple[StageKey, ...]
    scorer: ModelDigest

    name = "score"
    writes = ("scores",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"score": context.config.score, "threads": context.config.ray.threads_per_actor}

    def ids(self, context: Context) -> Sequence[str]:
        return generated_ids(context.store, self.generation)

    def shard_size(self, context: Context) -> int:
        return context.config.score.shard_size

    def worker(self, context: Context) -> "ScoreWorker":
        return ScoreWorker(self, context)


class ScoreWorker(ModelWorker):
    """Scores the hypotheses of a shard's instances."""

    def __init__(self, stage: Score, context: Context) -> None:
        super().__init__(context)
        self.stage = stage
        self.score = HypothesisScorer(load_scorer(self.store, stage.scorer), context.config.score, device=self.device)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of `scores`, sorted by instance and sample."""
        stage = self.stage
        stored = read_hypotheses(self.store, stage.generation, shard.ids)
        instances = load_instances(self.store, stage.ingests, stored.ids)
        scores = self.score(instances.crops, stored.hypotheses.uvd, stored.hypotheses.twists)
        good = np.isfinite(scores).all(axis=1)
        rows = np.flatnonzero(good)
        table = scores_table(stage.generation, stored.ids, stored.samples, scores, stage.scorer, self.partition, rows)
        return ShardOutput({"scores": table}, not_finite(stored.ids, good, "the scores"), ok=len(rows))


def scores_table(
    generation_id: StageKey,
    ids: Sequence[str],
    samples: Sequence[int] | np.ndarray,
    scores: np.ndarray,
    scorer: ModelDigest,
    partition: int,
    rows: np.ndarray,
) -> pa.Table:
    """Rows of `scores` (without `stage_key`) for the instances `rows` of `scores` (N, M)."""
    count = scores.shape[1]
    total = len(rows) * count
    columns = {
        "generation_id": generation_id,
        "instance_id": repeated(ids, rows, count),
        "sample_index": np.tile(np.asarray(samples, np.int32), len(rows)),
        "scorer": scorer,
        "score": scores[rows].reshape(total),
        "round": np.full(total, partition, np.int32),
        "stage_key": "",
    }
    return build("scores", columns).drop_columns(["stage_key"])


def read_scores(store: Store, score_key: StageKey, ids: Sequence[str], samples: np.ndarray) -> np.ndarray:
    """The scores (N, M) that a stage gave to samples (M,) of the instances `ids`, which are sorted.

    DataError where one is missing.
    """
    columns = ["instance_id", "sample_index", "score"]
    rows = read(store, "scores", stage_keys=[score_key], where=among(ids), columns=columns)
    rows = rows.sort_by(BY_SAMPLE)
    expected = np.tile(samples, len(ids))
    if not np.array_equal(rows.column("sample_index").to_numpy(), expected):
        raise DataError(
            f"The stage {score_key[:12]} scored other hypotheses than those of the {len(ids)} instances from {ids[0]} "
            "on: give the scores that belong to the generation."
        )
    scores: np.ndarray = rows.column("score").to_numpy().reshape(len(ids), len(samples))
    return scores
