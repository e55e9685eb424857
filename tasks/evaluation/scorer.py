"""Evaluate a scorer as published: how its scores go with the errors of hypotheses that it has not made.

The hypotheses are noised labels (`tasks.evaluation.noised_labels`), scored shard by shard by `ScoreNoised`; or those of
a test cache that brought its own errors (ingested from the format scorer-eval), scored by `Score`. `EvaluateScorer`
turns scores and errors into metrics: published_pearson, published_spearman and published_kendall over all hypotheses
of all images together, as published, and each with _within for the mean over images of the correlation within an image;
with suffix _mpvpe, _pa_mpvpe, _mpjpe or _pa_mpjpe, as far as the errors are known. Score against *error*: a good scorer
has negative values. Their role says which hypotheses it was: `NOISED` or `GIVEN`. Scores are without the mirrored
picture.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.stages import records
from infra.standing import HYPOTHESES
from infra.store import Store
from infra.tables import read
from models.statistics import Correlations, bootstrap_mean, published_correlations
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.evaluation.score_noised import ERRORS, NOISED, ScoreNoised, as_published
from tasks.rows.hypotheses import BY_SAMPLE
from tasks.rows.instances import of_target
from tasks.rows.metrics import Metric, metrics_table
from tasks.score import Score

GIVEN: Final = "given hypotheses"


@dataclass(frozen=True)
class EvaluateScorer(WholeStage):
    """Correlates a scorer's scores with errors on a split -> table `metrics`.

    `scoring` says of which hypotheses: noised labels, or those of an ingest (`Score.generation`) that has their errors.
    DataError where there is nothing to correlate.
    """

    target: Target
    scoring: ScoreNoised | Score

    name = "evaluate_scorer"
    writes = ("metrics",)
    on_ray = True  # the stage that scores is

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"target": str(self.target), **context.config.evaluate.bootstrap}

    def reads(self, context: Context) -> Sequence[StageKey]:
        scored = self.scoring.key(as_published(context))
        return (self.scoring.generation, scored) if isinstance(self.scoring, Score) else (scored,)

    def models(self, context: Context) -> Sequence[ModelDigest]:
        return self.scoring.models(context)

    def make(self, context: Context) -> Rows:
        scored = self.scoring.run(as_published(context)).key
        errors, role = (self.scoring.generation, GIVEN) if isinstance(self.scoring, Score) else (scored, NOISED)
        rows = _scored_errors(context.store, errors, scored)
        metrics = list(_figures(context, rows, self.target, self.scoring.scorer, role))
        if not metrics:
            raise DataError(
                f"Nothing of {self.target} can be correlated: no kind of error is known of all hypotheses, or all "
                "scores or errors are equal."
            )
        return Rows({"metrics": metrics_table(metrics, self.spec(context))})


def given_hypotheses(store: Store, target: Target) -> StageKey | None:
    """The newest ingest of hypotheses of this split that have errors, if there is one."""
    keys = [record.stage_key for record in records(store, HYPOTHESES)]
    if not keys:
        return None
    rows = read(store, "errors", stage_keys=keys, where=of_target(target), columns=["stage_key"])
    having = set(pc.unique(rows.column("stage_key")).to_pylist())
    return next((StageKey(key) for key in reversed(keys) if key in having), None)


def _scored_errors(store: Store, errors_key: StageKey, scores_key: StageKey) -> pa.Table:
    """Score and errors of every hypothesis that has both, sorted by instance and sample."""
    key = ["instance_id", "sample_index"]
    errors = read(store, "errors", stage_keys=[errors_key], columns=[*key, *(f"{name}_mm" for name in ERRORS)])
    scores = read(store, "scores", stage_keys=[scores_key], columns=[*key, "score"])
    return errors.join(scores, keys=key, join_type="inner").sort_by(BY_SAMPLE)


def _figures(context: Context, rows: pa.Table, target: Target, scorer: ModelDigest, role: str) -> Iterator[Metric]:
    ids, scores = rows.column("instance_id").to_numpy(), rows.column("score").to_numpy()
    starts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    images = len(starts) + 1 if len(ids) else 0
    for name in ERRORS:
        column = rows.column(f"{name}_mm")
        errors = column.to_numpy() if not column.null_count else np.full(len(ids), np.nan)
        if not len(errors) or not np.isfinite(errors).all():
            continue
        together = published_correlations(scores, errors)
        within = np.array([
            published_correlations(one, other)
            for one, other in zip(np.split(scores, starts), np.split(errors, starts), strict=True)
        ])  # fmt: skip
        for place, figure in enumerate(Correlations._fields):
            if np.isfinite(together[place]):
                yield Metric(f"published_{figure}_{name}", role, target, "1", together[place], images, model=scorer)
            usable = within[np.isfinite(within[:, place]), place]
            if len(usable):
                mean = bootstrap_mean(usable, **context.config.evaluate.bootstrap)
                yield Metric.of(f"published_{figure}_within_{name}", role, target, "1", mean, len(usable), scorer)
