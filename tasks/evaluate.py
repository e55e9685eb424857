"""Evaluate: hypotheses of a policy on held-out labels, their scores and their errors, in one pass.

The stage generates itself, so its key is the generation_id of all three tables. Sample 0 starts from zero noise;
samples 1 to M are the random ones. `tasks.compare` makes figures of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import roma
import torch
from torch import Tensor

from infra.shards import Shard
from models.bodies import Body, load_body
from models.kinematics import Root
from models.metrics import mpjpe_mm, mpvpe_mm, pa_mpjpe_mm
from schemas.config.stages import EvaluateConfig, GenerateConfig
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.engine.sharded import ShardOutput
from tasks.engine.stage import ShardedStage
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import HypothesisSampler, filtered, not_finite
from tasks.rows.hypotheses import Hypotheses, errors_table, hypotheses_table
from tasks.rows.instances import Instances, instance_ids, load_instances
from tasks.rows.models import load_policy, load_scorer
from tasks.score import HypothesisScorer, scores_table

NO_LABEL = "no label"
"""Reason of instances that have nothing to be measured against."""


class Errors(NamedTuple):
    """Errors of M hypotheses of N instances, (N, M) mm each; of one instance (M,)."""

    mpvpe: np.ndarray
    mpjpe: np.ndarray
    pa_mpjpe: np.ndarray


class ErrorMeter:
    """Measures hypotheses against gt labels, on arrays."""

    def __init__(self, body: Body, root: Root, microbatch: int, device: str = "cpu") -> None:
        self.body, self.root, self.microbatch = body.on(torch.device(device)), root, microbatch

    def __call__(self, instances: Instances, hypotheses: Hypotheses, rows: np.ndarray) -> Errors:
        """Errors of the hypotheses of the instances `rows` (N of them), which are labelled and have finite numbers.

        `instances` and `hypotheses` go together, row by row.
        """
        if not len(rows):
            return Errors(*(np.empty((0, hypotheses.count)) for _ in Errors._fields))
        parts = []
        for places, used in microbatches(len(rows), self.microbatch):
            measured = self._measure(instances, hypotheses.take(rows[places]), rows[places])
            parts.append([part.view(-1, hypotheses.count).cpu().numpy()[:used] for part in measured])
        return Errors(*(np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)))

    @torch.no_grad()
    def _measure(self, instances: Instances, hypotheses: Hypotheses, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        device = self.body.template.device
        theta, betas = (torch.from_numpy(part[rows]).to(device) for part in (instances.theta, instances.betas))
        label = self.body(roma.rotvec_to_rotmat(theta), betas)
        mpvpe, joints = [], []
        for part in hypotheses.body_parts(self.body, instances, rows, self.root):
            # a mesh is measured while it is in the cache; joints are few, and are measured together
            of = torch.arange(part.rows.start, part.rows.stop, device=device) // hypotheses.count
            vertices = part.vertices.mT.contiguous()
            mpvpe.append(mpvpe_mm(vertices, label.vertices[of], part.joints[:, 0], label.joints[of, 0]))
            joints.append(part.joints)
        posed, of_label = torch.cat(joints).unflatten(0, (-1, hypotheses.count)), label.joints[:, None]
        return torch.cat(mpvpe), mpjpe_mm(posed, of_label), pa_mpjpe_mm(posed, of_label)


@dataclass(frozen=True)
class Evaluate(ShardedStage):
    """Measures a policy on labelled splits -> tables `hypotheses`, `scores`, `errors`.

    Without a `scorer` there are no scores, and nothing is selected by them: a control needs none, and costs a third
    less. `temperature` multiplies the starting noise: the control that only shrinks it uses `config.less_noise`. An
    instance without a gt label is filtered; one for which a model gives a number that is not finite fails.
    """

    ingests: tuple[StageKey, ...]
    targets: tuple[Target, ...]
    policy: ModelDigest
    scorer: ModelDigest | None
    config: EvaluateConfig
    temperature: float = 1.0

    name = "evaluate"
    writes = ("hypotheses", "scores", "errors")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {
            "generate": self.config.generate,
            "temperature": self.temperature,
            "targets": [str(target) for target in self.targets],
            "score": context.config.score if self.scorer else None,
            "root_solver": context.config.root_solver,
            "body": load_body(context.config.body).digest,
            "threads": context.config.ray.threads_per_actor,
        }

    def ids(self, context: Context) -> Sequence[str]:
        return instance_ids(context.store, self.ingests, self.targets)

    def shard_size(self, context: Context) -> int:
        return self.config.generate.shard_size

    def worker(self, context: Context) -> "EvaluateWorker":
        return EvaluateWorker(self, context)


class DrawingWorker(ModelWorker):
    """Draws hypotheses and has a scorer, where there is one, say what it thinks of them."""

    def __init__(
        self,
        context: Context,
        key: StageKey,
        policy: ModelDigest,
        scorer: ModelDigest | None,
        generation: GenerateConfig,
        body: Body,
    ) -> None:
        super().__init__(context)
        self.key, self.scorer = key, scorer
        self.draw = HypothesisSampler(load_policy(self.store, policy), generation, body, device=self.device)
        self.score = None
        if scorer:
            self.score = HypothesisScorer(load_scorer(self.store, scorer), context.config.score, device=self.device)

    def drawn(self, instances: Instances) -> tuple[Hypotheses, np.ndarray | None, np.ndarray]:
        """Hypotheses of N instances, their scores (N, M), and whose numbers are all finite (N,)."""
        hypotheses = self.draw(instances.ids, instances.crops, instances.crop_intrinsics, instances.root_depth)
        if self.score is None:
            return hypotheses, None, hypotheses.finite()
        scores = self.score(instances.crops, hypotheses.uvd, hypotheses.twists)
        return hypotheses, scores, hypotheses.finite() & np.isfinite(scores).all(axis=1)

    def tables(
        self, instances: Instances, hypotheses: Hypotheses, scores: np.ndarray | None, rows: np.ndarray
    ) -> dict[str, pa.Table]:
        """Rows of `hypotheses`, and of `scores` where there are some, for the instances `rows`."""
        samples = self.draw.samples
        tables = {"hypotheses": hypotheses_table(self.key, instances, hypotheses, samples, self.partition, rows)}
        if scores is not None and self.scorer is not None:
            scored = scores_table(self.key, instances.ids, samples, scores, self.scorer, self.partition, rows)
            tables["scores"] = scored
        return tables


class EvaluateWorker(DrawingWorker):
    """Draws, scores and measures the hypotheses of a shard's instances."""

    def __init__(self, stage: Evaluate, context: Context) -> None:
        self.ingests = stage.ingests
        body, generation = load_body(context.config.body), stage.config.generate
        noise = {"noise_temperature": generation.noise_temperature * stage.temperature}
        drawn = generation.model_copy(update=noise)
        super().__init__(context, stage.key(context), stage.policy, stage.scorer, drawn, body)
        self.measure = ErrorMeter(body, context.config.root_solver, generation.microbatch, self.device)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, sorted by instance and sample."""
        instances = load_instances(self.store, self.ingests, list(shard.ids))
        hypotheses, scores, good = self.drawn(instances)
        labelled = instances.measurable
        rows = np.flatnonzero(labelled & good)
        failures = filtered(instances.ids, ~labelled, NO_LABEL, "an evaluation needs a gt label with its pelvis")
        failures += not_finite(instances.ids, good | ~labelled, "the policy's hypotheses or their scores")
        errors = self.measure(instances, hypotheses, rows)._asdict()
        tables = self.tables(instances, hypotheses, scores, rows)
        tables["errors"] = errors_table(self.key, instances, errors, "gt", self.draw.samples, self.partition, rows)
        return ShardOutput(tables, failures, ok=len(rows))
