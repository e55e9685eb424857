"""Targets: poses to train on directly, without any preference. Controls of alignment, for `make evidence`.

The pose of an instance is the scorer's own estimate, or what a policy draws without noise, or the label; of pictures
that were written without labels, the label that their making knew. In `pairs` it is its own winner and loser, so that
the same training takes it: DPO has nothing to learn from such a pair, the anchor, supervised training and the
estimate term have. What a policy gains from them says what the scorer's knowledge is worth when it is given directly,
and what could be gained at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch

from infra.shards import Shard
from models.bodies import load_body
from models.cameras import uvd_from_camera
from schemas.config.networks import JOINTS, TWISTS
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey, Target, parse_instance_id
from schemas.tables import LABEL_AS_SAMPLE, build
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.stage import ShardedStage
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import HypothesisSampler, not_finite
from tasks.half_encoder import check_half_encoder
from tasks.rows.crops import crop_tensor
from tasks.rows.instances import Instances, instance_ids, load_instances
from tasks.rows.models import load_policy, load_scorer
from tasks.rows.part import Part, counting
from tasks.synthesize.domains import configured_domain
from tasks.synthesize.picture import make_picture

ESTIMATE, LABEL, TAUGHT, TRUTH = "scorer_estimate", "label", "taught", "truth"
"""Strategies of such pairs."""
_WHAT = {ESTIMATE: "the estimates", LABEL: "the labels", TAUGHT: "the teacher's hypotheses", TRUTH: "the labels"}


@dataclass(frozen=True)
class Targets(ShardedStage):
    """A pose of every instance of `target` -> table `pairs`: the scorer's own estimate, or the zero-noise hypothesis of
    the policy `teacher`, or without either its label.

    With a `part`, of those in it alone. With `truth` the label of a synthetic picture is made again, whether the store
    has it or not. ConfigError for a scorer that makes no estimate of its own, as the published ones.
    """

    ingests: tuple[StageKey, ...]
    target: Target
    scorer: ModelDigest | None
    teacher: ModelDigest | None = None
    truth: bool = False
    part: Part | None = None

    name = "targets"
    writes = ("pairs",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        score = context.config.score
        of = {"of": self.strategy} if self.strategy in (TAUGHT, TRUTH) else {}
        return {
            **of,
            "target": str(self.target),
            "shard_size": score.shard_size,
            "microbatch": score.microbatch,
            "threads": context.config.ray.threads_per_actor,
            **counting(self.part),
            **self._drawn_unlike_others(context),
        }

    def _drawn_unlike_others(self, context: Context) -> dict[str, Any]:
        """How a teacher draws, as far as it reaches the poses (a microbatch does by the last bits) and isn't the
        default: keys made before it counted say nothing of it."""
        if self.strategy != TAUGHT:
            return {}
        drawing = context.config.evaluate.generate
        other = drawing.unusual("precision", "encoder_precision", "compile", "microbatch")
        return {"drawn": other} if other else {}

    @property
    def strategy(self) -> str:
        """What the poses are, in the table's words."""
        if self.truth:
            return TRUTH
        return TAUGHT if self.teacher else ESTIMATE if self.scorer else LABEL

    def ids(self, context: Context) -> Sequence[str]:
        return instance_ids(context.store, self.ingests, [self.target], self.part)

    def shard_size(self, context: Context) -> int:
        return context.config.score.shard_size

    def worker(self, context: Context) -> "TargetWorker":
        return TargetWorker(self, context)


class TargetWorker(ModelWorker):
    """Makes the targets of a shard's instances."""

    def __init__(self, stage: Targets, context: Context) -> None:
        super().__init__(context)
        self.ingests, self.microbatch = stage.ingests, context.config.score.microbatch
        self.pair_set, self.strategy, self.config = stage.key(context), stage.strategy, context.config
        self.scorer = load_scorer(self.store, stage.scorer).to(torch.device(self.device)) if stage.scorer else None
        self.teacher = None
        if stage.teacher:
            drawing, body = context.config.evaluate.generate, load_body(context.config.body)
            policy = load_policy(self.store, stage.teacher)
            self.teacher = HypothesisSampler(policy, drawing, body, samples=[0], device=self.device)
            if drawing.encoder_precision == "bfloat16":
                people, root = (stage.ingests, stage.ids(context), stage.teacher), context.config.root_solver
                check_half_encoder(self.teacher, self.store, *people, body, root)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of `pairs`, sorted by instance."""
        instances = load_instances(self.store, self.ingests, shard.ids)
        uvd, twists, betas = self._poses(instances)
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
            "strategy": self.strategy,
            **{f"{side}_{part}": values for side in ("winner", "loser") for part, values in pose.items()},
            "dataset": [instances.dataset[row] for row in rows],
            "round": np.full(len(rows), self.partition, np.int32),
            "stage_key": self.pair_set,
        }
        failures = not_finite(instances.ids, good, _WHAT[self.strategy])
        return ShardOutput({"pairs": build("pairs", columns)}, failures, ok=len(rows))

    def _poses(self, instances: Instances) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """uvd (N, 29, 3), twists (N, 23, 2) and betas (N, 10)."""
        if self.strategy == TRUTH:
            return self._truth(instances)
        if self.teacher is not None:
            drawn = self.teacher(instances.ids, instances.crops, instances.crop_intrinsics, instances.root_depth)
            return drawn.uvd[:, 0], drawn.twists[:, 0], drawn.betas[:, 0]
        return self._estimates(instances) if self.scorer else _labels(instances)

    def _truth(self, instances: Instances) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The labels that the pictures were made with; a picture's number is its name."""
        synthesize, size = self.config.synthesize, instances.crops.shape[1]
        uvd, twists, betas = [], [], []
        for name, intrinsics in zip(instances.ids, instances.crop_intrinsics, strict=True):
            image = parse_instance_id(name).image
            domain = configured_domain(synthesize, image.dataset)
            number = int(PurePosixPath(image.key).stem)
            label = make_picture(domain, image.split, number, synthesize.seed, self.config.body).label
            seen, _ = uvd_from_camera(torch.from_numpy(label.joints), torch.from_numpy(intrinsics), size)
            uvd.append(seen.numpy())
            twists.append(label.twist)
            betas.append(label.betas)
        return np.stack(uvd), np.stack(twists), np.stack(betas)

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
