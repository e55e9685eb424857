"""The work of evaluating: hypotheses of a policy on held-out labels, their scores and their errors, in one pass.

Sample 0 starts from zero noise; samples 1 to M are the random ones. `tasks.compare` makes figures of them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import roma
import torch
from torch import Tensor

from infra.shards import Shard
from models.bodies import Body, load_body
from models.kinematics import Root
from models.metrics import mpjpe_mm, mpvpe_mm, pa_mpjpe_mm
from schemas.config.stages import GenerateConfig
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.worker import ModelWorker, microbatches
from tasks.generate import HypothesisSampler, filtered, not_finite
from tasks.half_encoder import check_half_encoder, some_of
from tasks.half_scorer import HYPOTHESES, Posed
from tasks.rows.hypotheses import Hypotheses, errors_table, hypotheses_table
from tasks.rows.instances import NO_LABEL, Instances, load_instances
from tasks.rows.models import load_policy, load_scorer
from tasks.rows.scores import Scored, scores_table
from tasks.score import HypothesisScorer, checked_scorer

if TYPE_CHECKING:
    from tasks.stages.evaluate import Evaluate


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
        purpose: str = "sample",
    ) -> None:
        super().__init__(context)
        self.key, self.scorer = key, scorer
        self.draw = HypothesisSampler(
            load_policy(self.store, policy), generation, body, purpose=purpose, device=self.device
        )
        self.score = None
        if scorer:
            self.score = HypothesisScorer(load_scorer(self.store, scorer), context.config.score, device=self.device)

    def guard_scorer(
        self,
        context: Context,
        ingests: Sequence[StageKey],
        ids: Callable[[], pa.StringArray | Sequence[str]],
    ) -> None:
        """ConfigError as of `checked_scorer`, measured on hypotheses of some of `ids`, the people of the stage."""
        config = context.config.score
        if self.scorer and config.encoder_precision == "bfloat16":
            self.score = checked_scorer(
                self.store, self.scorer, config, self.device, self.key, lambda: self._some(ingests, some_of(ids()))
            )

    def _some(self, ingests: Sequence[StageKey], ids: list[str]) -> Posed:
        people, draw = load_instances(self.store, ingests, ids), self.draw
        few = HypothesisSampler(
            draw.policy,
            draw.config,
            draw.body,
            samples=draw.samples[:HYPOTHESES],
            purpose=draw.purpose,
            device=self.device,
        )
        hypotheses = few(people.ids, people.crops, people.crop_intrinsics, people.root_depth)
        return Posed(people.crops, hypotheses.uvd, hypotheses.twists, hypotheses.betas)

    def drawn(self, instances: Instances) -> tuple[Hypotheses, Scored | None, np.ndarray]:
        """Hypotheses of N instances, their scores, and whose numbers are all finite (N,)."""
        hypotheses = self.draw(instances.ids, instances.crops, instances.crop_intrinsics, instances.root_depth)
        if self.score is None:
            return hypotheses, None, hypotheses.finite()
        scored = self.score.of(instances.crops, hypotheses.uvd, hypotheses.twists, hypotheses.betas)
        return hypotheses, scored, hypotheses.finite() & np.isfinite(scored.scores).all(axis=1)

    def tables(
        self, instances: Instances, hypotheses: Hypotheses, scored: Scored | None, rows: np.ndarray
    ) -> dict[str, pa.Table]:
        """Rows of `hypotheses`, and of `scores` where there are some, for the instances `rows`."""
        samples = self.draw.samples
        tables = {"hypotheses": hypotheses_table(self.key, instances, hypotheses, samples, self.partition, rows)}
        if scored is not None and self.scorer is not None:
            named, (scores, disagreement) = (self.key, instances.ids, samples), scored
            apart = hypotheses.spread_mm(instances.reach, samples)
            tables["scores"] = scores_table(*named, scores, self.scorer, self.partition, rows, disagreement, apart)
        return tables


class EvaluateWorker(DrawingWorker):
    """Draws, scores and measures the hypotheses of a shard's instances."""

    def __init__(self, stage: "Evaluate", context: Context) -> None:
        self.ingests = stage.ingests
        body, generation = load_body(context.config.body), stage.config.generate
        noise = {"noise_temperature": generation.noise_temperature * stage.temperature}
        drawn = generation.model_copy(update=noise)
        super().__init__(context, stage.key(context), stage.policy, stage.scorer, drawn, body)
        if generation.encoder_precision == "bfloat16":
            people = stage.ingests, stage.ids(context), stage.policy
            check_half_encoder(self.draw, self.store, *people, body, context.config.root_solver)
        self.guard_scorer(context, stage.ingests, lambda: stage.ids(context))
        self.measure = ErrorMeter(body, context.config.root_solver, generation.microbatch, self.device)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, sorted by instance and sample."""
        instances = load_instances(self.store, self.ingests, list(shard.ids))
        hypotheses, scored, good = self.drawn(instances)
        labelled = instances.measurable
        rows = np.flatnonzero(labelled & good)
        failures = filtered(instances.ids, ~labelled, NO_LABEL, "an evaluation needs a gt label with its pelvis")
        failures += not_finite(instances.ids, good | ~labelled, "the policy's hypotheses or their scores")
        errors = self.measure(instances, hypotheses, rows)._asdict()
        tables = self.tables(instances, hypotheses, scored, rows)
        tables["errors"] = errors_table(self.key, instances, errors, "gt", self.draw.samples, self.partition, rows)
        return ShardOutput(tables, failures, ok=len(rows))
