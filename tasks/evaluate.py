"""Evaluate: hypotheses of a policy on held-out labels, their scores and their errors, in one pass.

The stage generates itself, so its key is the generation_id of all three tables. Sample 0 starts from zero noise;
samples 1 to M are the random ones. Whoever wants figures takes them from `tasks.compare`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import roma
import torch
from torch import Tensor

from infra.shards import Shard
from infra.stages import Failure, StageSpec
from infra.store import Store
from models.bodies import Body, load_body
from models.metrics import mpjpe_mm, mpvpe_mm, pa_mpjpe_mm
from models.recovery import RootSolver, recover_body
from schemas.config.stages import EvaluateConfig, ScoreConfig
from schemas.tables import build
from tasks.engine.context import Context, Target
from tasks.engine.sharded import ShardOutput, StageResult, run_sharded
from tasks.engine.worker import ModelWorker, actor_options, device_name, microbatches
from tasks.generate import HypothesisMaker, not_finite
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


def evaluate_spec(
    context: Context,
    ingest_keys: Sequence[str],
    targets: Sequence[Target],
    policy: str,
    scorer: str | None,
    config: EvaluateConfig,
    temperature: float = 1.0,
) -> StageSpec:
    """What `evaluate` with these arguments is going to do."""
    decisive = {
        "generate": config.generate,
        "temperature": temperature,
        "targets": [str(target) for target in targets],
        "score": context.config.score if scorer else None,
        "root_solver": context.config.root_solver,
        "body": load_body(context.config.body).digest,
        "threads": context.config.ray.threads_per_actor,
    }
    return context.spec("evaluate", 1, decisive, reads=ingest_keys, models=[policy, *([scorer] if scorer else [])])


def evaluate(
    context: Context,
    ingest_keys: Sequence[str],
    targets: Sequence[Target],
    policy: str,
    scorer: str | None,
    config: EvaluateConfig,
    temperature: float = 1.0,
) -> StageResult:
    """Measure the policy (a digest) on the labelled splits `targets` -> tables `hypotheses`, `scores`, `errors`.

    Without a `scorer` (a digest) there are no scores, and nothing is selected by them: a control needs none, and costs
    a third less. `temperature` multiplies the starting noise: the control that only shrinks it uses
    `config.less_noise`. An instance without a gt label is filtered; one for which a model gives a number that is not
    finite fails.
    """
    spec = evaluate_spec(context, ingest_keys, targets, policy, scorer, config, temperature)
    settings = context.config
    noise_temperature = config.generate.noise_temperature * temperature
    worker_args = {
        "store": context.store,
        "ingest_keys": list(ingest_keys),
        "policy": policy,
        "scorer": scorer,
        "config": config.model_copy(
            update={"generate": config.generate.model_copy(update={"noise_temperature": noise_temperature})}
        ),
        "score_config": settings.score,
        "body": settings.body,
        "root": settings.root_solver,
        "generation_id": spec.key,
        "partition": context.partition,
        "threads": settings.ray.threads_per_actor,
        "device": device_name(settings.ray),
    }
    return run_sharded(
        context.store,
        spec,
        instance_ids(context.store, ingest_keys, targets),
        config.generate.shard_size,
        EvaluateWorker,
        worker_args,
        tables=["hypotheses", "scores", "errors"],
        **actor_options(context),
    )


class EvaluateWorker(ModelWorker):
    """Draws, scores and measures the hypotheses of a shard's instances."""

    def __init__(
        self,
        store: Store,
        ingest_keys: Sequence[str],
        policy: str,
        scorer: str | None,
        config: EvaluateConfig,
        score_config: ScoreConfig,
        body: str,
        root: RootSolver,
        generation_id: str,
        partition: int,
        threads: int,
        device: str,
    ) -> None:
        super().__init__(threads)
        self.store, self.ingest_keys = store, ingest_keys
        self.generation_id, self.partition = generation_id, partition
        loaded = load_body(body)
        self.make = HypothesisMaker(load_policy(store, policy), config.generate, loaded, device=device)
        self.scorer_digest = scorer
        self.score = HypothesisScorer(load_scorer(store, scorer), score_config, device=device) if scorer else None
        self.measure = ErrorMeter(loaded, root, config.generate.microbatch)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, sorted by instance and sample."""
        instances = load_instances(self.store, self.ingest_keys, list(shard.ids))
        made = self.make(instances.ids, instances.crops, instances.crop_intrinsics, instances.root_depth)
        labelled = instances.labelled & np.isfinite(instances.root_depth)
        good = made.finite()
        scores = self.score(instances.crops, made.uvd, made.twists) if self.score else None
        if scores is not None:
            good &= np.isfinite(scores).all(axis=1)
        rows = np.flatnonzero(labelled & good)
        samples = self.make.samples
        failures = [
            Failure(instances.ids[row], NO_LABEL, "an evaluation needs a gt label with its pelvis", outcome="filtered")
            for row in np.flatnonzero(~labelled)
        ]
        failures += not_finite(instances.ids, good | ~labelled, "the policy's hypotheses or their scores")
        tables = {
            "hypotheses": hypotheses_table(self.generation_id, instances, made, samples, self.partition, rows),
            "errors": self._errors_table(instances, made, rows),
        }
        if scores is not None and self.scorer_digest is not None:
            tables["scores"] = scores_table(
                self.generation_id, instances.ids, samples, scores, self.scorer_digest, self.partition, rows
            )
        return ShardOutput(tables, failures, ok=len(rows))

    def _errors_table(self, instances: Instances, made: Hypotheses, rows: np.ndarray) -> pa.Table:
        total = len(rows) * made.count
        errors = self.measure(instances, made, rows)
        columns = {
            "generation_id": self.generation_id,
            "instance_id": repeated(instances.ids, rows, made.count),
            "sample_index": np.tile(np.asarray(self.make.samples, np.int32), len(rows)),
            "label_set": "gt",
            "mpvpe_mm": errors.mpvpe.reshape(total),
            "mpjpe_mm": errors.mpjpe.reshape(total),
            "pa_mpjpe_mm": errors.pa_mpjpe.reshape(total),
            "dataset": repeated(instances.dataset, rows, made.count),
            "split": repeated(instances.split, rows, made.count),
            "round": np.full(total, self.partition, np.int32),
            "stage_key": self.generation_id,
        }
        return build("errors", columns)
