"""Targets: poses to train on directly, without any preference. Controls of alignment, for `make evidence`.

The pose of an instance is the scorer's own estimate, or the label. In `pairs` it is its own winner and loser, so
that the same training takes it: DPO has nothing to learn from such a pair, the anchor, supervised training and the
estimate term have. What a policy gains from them says what the scorer's knowledge is worth when it is given directly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from infra.shards import Shard
from schemas.config.networks import JOINTS, TWISTS
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey, Target
from schemas.tables import LABEL_AS_SAMPLE, build
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.stage import ShardedStage
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import not_finite
from tasks.rows.crops import crop_tensor
from tasks.rows.instances import Instances, instance_ids, load_instances
from tasks.rows.models import load_scorer

ESTIMATE, LABEL = "scorer_estimate", "label"
"""Strategies of such pairs."""


@dataclass(frozen=True)
class Targets(ShardedStage):
    """The scorer's own estimate of every instance of `target`, or without a scorer its label -> table `pairs`.

    ConfigError for a scorer that makes no estimate of its own, as the published ones.
    """

    ingests: tuple[StageKey, ...]
    target: Target
    scorer: ModelDigest | None

    name = "targets"
    writes = ("pairs",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        score = context.config.score
        return {
            "target": str(self.target),
            "shard_size": score.shard_size,
            "microbatch": score.microbatch,
            "threads": context.config.ray.threads_per_actor,
        }

    def ids(self, context: Context) -> Sequence[str]:
        return instance_ids(context.store, self.ingests, [self.target])

    def shard_size(self, context: Context) -> int:
        return context.config.score.shard_size

    def worker(self, context: Context) -> "TargetWorker":
        return TargetWorker(self, context)


class TargetWorker(ModelWorker):
    """Makes the targets of a shard's instances."""

    def __init__(self, stage: Targets, context: Context) -> None:
        super().__init__(context)
        self.ingests, self.microbatch = stage.ingests, context.config.score.microbatch
        self.pair_set = stage.key(context)
        self.scorer = load_scorer(self.store, stage.scorer).to(torch.device(self.device)) if stage.scorer else None

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of `pairs`, sorted by instance."""
        instances = load_instances(self.store, self.ingests, shard.ids)
        uvd, twists, betas = self._estimates(instances) if self.scorer else _labels(instances)
        known = np.concatenate([uvd.reshape(len(instances), -1), twists.reshape(len(instances), -1), betas], axis=1)
        good = np.isfinite(known).all(axis=1)
        rows = np.flatnonzero(good)
        pose = {
            "uvd": uvd[rows].reshape(len(rows), JOINTS * 3),
            "twist": twists[rows].reshape(len(rows), TWISTS * 2),
            "betas": betas[rows],
        }
        columns = {
            "pair_set": self.pair_set,
            "instance_id": [instances.ids[row] for row in rows],
            "generation_id": self.pair_set,
            "winner": np.full(len(rows), LABEL_AS_SAMPLE, np.int32),
            "loser": np.full(len(rows), LABEL_AS_SAMPLE, np.int32),
            "strategy": ESTIMATE if self.scorer else LABEL,
            **{f"{side}_{part}": values for side in ("winner", "loser") for part, values in pose.items()},
            "dataset": [instances.dataset[row] for row in rows],
            "round": np.full(len(rows), self.partition, np.int32),
            "stage_key": self.pair_set,
        }
        failures = not_finite(instances.ids, good, "the estimates" if self.scorer else "the labels")
        return ShardOutput({"pairs": build("pairs", columns)}, failures, ok=len(rows))

    @torch.no_grad()
    def _estimates(self, instances: Instances) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """uvd (N, 29, 3), unit twists (N, 23, 2) and betas (N, 10) as the scorer's encoder estimates them."""
        parts: list[list[np.ndarray]] = []
        for rows, used in microbatches(len(instances), self.microbatch):
            assert self.scorer is not None
            _, estimate = self.scorer.encode(crop_tensor(instances.crops[rows], torch.device(self.device)))
            if estimate is None:
                raise ConfigError("This scorer's encoder makes no estimate of a pose: there are no targets to take.")
            unit = torch.nn.functional.normalize(estimate.twists, dim=-1, eps=1e-6)
            parts.append([part.cpu().numpy()[:used] for part in (estimate.uvd, unit, estimate.betas)])
        uvd, twists, betas = (np.concatenate(column) for column in zip(*parts, strict=True))
        return uvd, twists, betas


def _labels(instances: Instances) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return instances.uvd, instances.twists, instances.betas
