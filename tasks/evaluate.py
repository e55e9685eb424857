"""Evaluate: hypotheses of a policy on held-out labels, their scores and their errors, in one pass.

The stage generates itself, so its key is the generation_id of all three tables. Sample 0 starts from zero noise;
samples 1 to M are the random ones. Whoever wants figures takes them from `tasks.compare`.
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
from infra.stages import Failure
from models.bodies import Body, load_body
from models.metrics import mpjpe_mm, mpvpe_mm, pa_mpjpe_mm
from models.recovery import RootSolver, recover_body
from schemas.config.stages import EvaluateConfig
from schemas.ids import ModelDigest, StageKey, Target
from schemas.tables import build
from tasks.engine.context import Context
from tasks.engine.sharded import ShardOutput
from tasks.engine.stage import ShardedStage
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import HypothesisSampler, not_finite
from tasks.rows.hypotheses import Hypotheses, hypotheses_table, repeated
from tasks.rows.instances import Instances, instance_ids, load_instances
from tasks.rows.models import load_policy, load_scorer
from tasks.score import HypothesisScorer, scores_table

NO_LABEL = "no label"
"""Reason of instances that have nothing to be measured against."""


class Errors(NamedTuple):
    """Errors of M hypotheses of N instances, (N, M) mm each."""

    mpvpe: np.ndarray
    mpjpe: np.ndarray
    pa_mpjpe: np.ndarray


class ErrorMeter:
    """Measures hypotheses against gt labels, on arrays."""

    def __init__(self, body: Body, root: RootSolver, microbatch: int) -> None:
        self.body, self.root, self.microbatch = body, root, microbatch

    def __call__(self, instances: Instances, made: Hypotheses, rows: np.ndarray) -> Errors:
        """Errors of the hypotheses of the instances `rows` (N of them), which are labelled and have finite numbers.

        `instances` and `made` go together, row by row.
        """
        if not len(rows):
            return Errors(*(np.empty((0, made.count)) for _ in Errors._fields))
        parts = []
        for places, used in microbatches(len(rows), self.microbatch):
            measured = self._measure(instances, made.take(rows[places]), rows[places])
            parts.append([part.view(-1, made.count).numpy()[:used] for part in measured])
        return Errors(*(np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)))

    @torch.no_grad()
    def _measure(self, instances: Instances, made: Hypotheses, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        many = made.count
        label_rotations = roma.rotvec_to_rotmat(torch.from_numpy(instances.theta[rows]))
        label = self.body(label_rotations, torch.from_numpy(instances.betas[rows]))
        recovered = recover_body(
            self.body,
            uvd=torch.from_numpy(made.uvd).flatten(0, 1),
            twists=torch.from_numpy(made.twists).flatten(0, 1),
            betas=torch.from_numpy(made.betas).flatten(0, 1),
            crop_intrinsics=torch.from_numpy(instances.crop_intrinsics[rows]).repeat_interleave(many, 0),
            size=instances.crop_size,
            root_depth=torch.from_numpy(made.root_depth).flatten(),
            root=self.root,
        )
        vertices, joints = (part.unflatten(0, (-1, many)) for part in (recovered.vertices, recovered.joints))
        label_vertices, label_joints = label.vertices[:, None], label.joints[:, None]
        return (
            mpvpe_mm(vertices, label_vertices, joints[..., 0, :], label_joints[..., 0, :]),
            mpjpe_mm(joints, label_joints),
            pa_mpjpe_mm(joints, label_joints),
        )


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


class EvaluateWorker(ModelWorker):
    """Draws, scores and measures the hypotheses of a shard's instances."""

    def __init__(self, stage: Evaluate, context: Context) -> None:
        super().__init__(context)
        self.stage, self.key = stage, stage.key(context)
        body, drawn = load_body(context.config.body), stage.config.generate
        noise = {"noise_temperature": drawn.noise_temperature * stage.temperature}
        policy = load_policy(self.store, stage.policy)
        self.draw = HypothesisSampler(policy, drawn.model_copy(update=noise), body, device=self.device)
        self.score = None
        if stage.scorer:
            scorer = load_scorer(self.store, stage.scorer)
            self.score = HypothesisScorer(scorer, context.config.score, device=self.device)
        self.measure = ErrorMeter(body, context.config.root_solver, drawn.microbatch)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, sorted by instance and sample."""
        instances = load_instances(self.store, self.stage.ingests, list(shard.ids))
        made = self.draw(instances.ids, instances.crops, instances.crop_intrinsics, instances.root_depth)
        labelled = instances.labelled & np.isfinite(instances.root_depth)
        good = made.finite()
        scores = self.score(instances.crops, made.uvd, made.twists) if self.score else None
        if scores is not None:
            good &= np.isfinite(scores).all(axis=1)
        rows = np.flatnonzero(labelled & good)
        samples = self.draw.samples
        failures = [
            Failure(instances.ids[row], NO_LABEL, "an evaluation needs a gt label with its pelvis", outcome="filtered")
            for row in np.flatnonzero(~labelled)
        ]
        failures += not_finite(instances.ids, good | ~labelled, "the policy's hypotheses or their scores")
        tables = {
            "hypotheses": hypotheses_table(self.key, instances, made, samples, self.partition, rows),
            "errors": self._errors_table(instances, made, rows),
        }
        if scores is not None and self.stage.scorer is not None:
            tables["scores"] = scores_table(
                self.key, instances.ids, samples, scores, self.stage.scorer, self.partition, rows
            )
        return ShardOutput(tables, failures, ok=len(rows))

    def _errors_table(self, instances: Instances, made: Hypotheses, rows: np.ndarray) -> pa.Table:
        total = len(rows) * made.count
        errors = self.measure(instances, made, rows)
        columns = {
            "generation_id": self.key,
            "instance_id": repeated(instances.ids, rows, made.count),
            "sample_index": np.tile(np.asarray(self.draw.samples, np.int32), len(rows)),
            "label_set": "gt",
            "mpvpe_mm": errors.mpvpe.reshape(total),
            "mpjpe_mm": errors.mpjpe.reshape(total),
            "pa_mpjpe_mm": errors.pa_mpjpe.reshape(total),
            "dataset": repeated(instances.dataset, rows, made.count),
            "split": repeated(instances.split, rows, made.count),
            "round": np.full(total, self.partition, np.int32),
            "stage_key": self.key,
        }
        return build("errors", columns)
