"""Evaluate a scorer as published: how its scores go with the errors of hypotheses that it has not made.

The hypotheses are noised labels (`tasks.evaluation.noised_labels`), scored shard by shard by `ScoreNoised`; or those of
a test cache that brought its own errors (ingested from the format scorer-eval), scored by `Score`. `EvaluateScorer`
turns scores and errors into metrics: published_pearson, published_spearman and published_kendall over all hypotheses
of all images together, as published, and each with _within for the mean over images of the correlation within an image;
with suffix _mpvpe, _pa_mpvpe, _mpjpe or _pa_mpjpe, as far as the errors are known. Score against *error*: a good scorer
has negative values. Their role says which hypotheses it was: `NOISED` or `GIVEN`. Scores are without the mirrored
picture.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

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
from tasks.engine.stage import Rows
from tasks.evaluation.mirrorless import as_published
from tasks.evaluation.score_noised import ERRORS, NOISED
from tasks.rows.hypotheses import BY_SAMPLE
from tasks.rows.instances import of_target
from tasks.rows.metrics import Metric, metrics_table

if TYPE_CHECKING:
    from tasks.stages.published_scorer import EvaluateScorer

GIVEN: Final = "given hypotheses"


def correlated(stage: "EvaluateScorer", context: Context) -> Rows:
    """All correlations of scores and errors; what is not scored yet is scored first."""
    scored = stage.scoring.run(as_published(context)).key
    given = stage.given
    errors, role = (scored, NOISED) if given is None else (given, GIVEN)
    rows = _scored_errors(context.store, errors, scored)
    metrics = list(_figures(context, rows, stage.target, stage.scoring.scorer, role))
    if not metrics:
        raise DataError(
            f"Nothing of {stage.target} can be correlated: no kind of error is known of all hypotheses, or all "
            "scores or errors are equal."
        )
    return Rows({"metrics": metrics_table(metrics, stage.spec(context))})


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
