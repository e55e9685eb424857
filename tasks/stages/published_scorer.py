"""Evaluations of a scorer: how scores go with errors, of noised labels or of real samples, and what a score means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker
from tasks.engine.stage import Rows, ShardedStage, WholeStage
from tasks.evaluation.mirrorless import as_published
from tasks.rows.instances import instance_ids
from tasks.stages.evaluate import Evaluate
from tasks.stages.score import Score


@dataclass(frozen=True)
class ScoreNoised(ShardedStage):
    """Scores and measures `hypotheses` noised labels of each instance -> tables `scores`, `errors`.

    `bodies` poses them: a folder of published bodies, or the name or file of an SMPL body. Instances without a gt label
    are filtered. The hypotheses can be drawn again.
    """

    ingests: tuple[StageKey, ...]
    target: Target
    scorer: ModelDigest
    hypotheses: int
    bodies: str

    name = "score_noised"
    writes = ("scores", "errors")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        if self.hypotheses < 2:
            raise ConfigError(f"{self.hypotheses} hypotheses: a correlation needs 2 or more.")
        from tasks.evaluation.bodies import body_of, kinds_of
        from tasks.evaluation.noised_labels import BETAS, ROTATION

        kinds = kinds_of(context.store, self.ingests, self.ids(context))
        return {
            "target": str(self.target),
            "hypotheses": self.hypotheses,
            "noise": [ROTATION, BETAS],
            "seed": context.config.seed,
            "score": as_published(context).config.score,
            "bodies": {" ".join(kind): body_of(self.bodies, kind).digest for kind in sorted(kinds)},
            "threads": context.config.ray.threads_per_actor,
        }

    def ids(self, context: Context) -> Sequence[str]:
        return instance_ids(context.store, self.ingests, [self.target])

    def shard_size(self, context: Context) -> int:
        return context.config.score.shard_size

    def worker(self, context: Context) -> ShardWorker:
        from tasks.evaluation.score_noised import NoisedWorker

        return NoisedWorker(self, context)


@dataclass(frozen=True)
class EvaluateScorer(WholeStage):
    """Correlates a scorer's scores with errors on a split -> table `metrics`.

    `scoring` says of which hypotheses: noised labels, the random samples of a policy (`Evaluate`), or those of an
    ingest (`Score.generation`) that has their errors. DataError where there is nothing to correlate.
    """

    target: Target
    scoring: ScoreNoised | Score | Evaluate

    name = "evaluate_scorer"
    writes = ("metrics",)
    on_ray = True  # the stage that scores is

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"target": str(self.target), **context.config.evaluate.bootstrap}

    def reads(self, context: Context) -> Sequence[StageKey]:
        scored = self.scoring.key(self.scored_in(context))
        return (scored,) if self.given is None else (self.given, scored)

    def models(self, context: Context) -> Sequence[ModelDigest]:
        return self.scoring.models(context)

    def scored_in(self, context: Context) -> Context:
        """Samples are scored as rounds score them; others as published."""
        return context if isinstance(self.scoring, Evaluate) else as_published(context)

    def calibration(self, context: Context) -> "CalibrateScorer":
        """What the same scores mean in millimetres."""
        scored = self.scoring.key(self.scored_in(context))
        assert self.scoring.scorer is not None
        return CalibrateScorer(self.given or scored, scored, self.scoring.scorer, self.target)

    @property
    def given(self) -> StageKey | None:
        """The ingest whose hypotheses are scored; None for those that are made here."""
        return self.scoring.generation if isinstance(self.scoring, Score) else None

    def make(self, context: Context) -> Rows:
        from tasks.evaluation.scorer import correlated

        return correlated(self, context)


@dataclass(frozen=True)
class CalibrateScorer(WholeStage):
    """Makes of scores, and errors of the same hypotheses, what a score means -> table `metrics`.

    `errors` is the stage that measured the hypotheses, `scores` that which scored them; of the samples of an evaluation
    the random ones count. DataError where there is nothing to go by.
    """

    errors: StageKey
    scores: StageKey
    scorer: ModelDigest
    target: Target

    name = "calibrate_scorer"
    writes = ("metrics",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"target": str(self.target), **context.config.evaluate.bootstrap}

    def make(self, context: Context) -> Rows:
        from tasks.evaluation.calibration import calibrated

        return calibrated(self, context)
