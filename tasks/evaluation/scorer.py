"""Evaluate a scorer: how its scores go with the errors of hypotheses.

The hypotheses are noised labels (`tasks.evaluation.noised_labels`), scored shard by shard by `ScoreNoised`; the random
samples of a policy, drawn, scored and measured by `Evaluate`; or those of a test cache that brought its own errors
(ingested from the format scorer-eval), scored by `Score`. Noised labels are the easiest: who ranks them need not rank
the errors that a policy makes. `EvaluateScorer` turns
scores and errors into metrics: published_pearson, published_spearman and published_kendall over all hypotheses of all
images together, as published, and each with _within for the mean over images of the correlation within an image; with
suffix _mpvpe, _pa_mpvpe, _mpjpe or _pa_mpjpe, as far as the errors are known. Score against *error*: a good scorer has
negative values. Their role says which hypotheses it was: `NOISED`, `SAMPLES` or `GIVEN`. Scores of samples are those
that rounds give, of others without the mirrored picture, as published.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.stages import find, records
from infra.standing import HYPOTHESES
from infra.store import Store
from infra.tables import read
from models.statistics import Correlations, bootstrap_mean, published_correlations
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.engine.stage import Rows
from tasks.evaluation.score_noised import ERRORS, NOISED
from tasks.rows.calibrations import SAMPLES
from tasks.rows.hypotheses import BY_SAMPLE
from tasks.rows.instances import of_target
from tasks.rows.metrics import Metric, metrics_table

if TYPE_CHECKING:
    from tasks.stages.published_scorer import EvaluateScorer

GIVEN: Final = "given hypotheses"
_ROLES: Final = {"score_noised": NOISED, "evaluate": SAMPLES}
"""By the stage that measured the hypotheses."""


def correlated(stage: "EvaluateScorer", context: Context) -> Rows:
    """All correlations of scores and errors; what is not scored yet is scored first."""
    scored = stage.scoring.run(stage.scored_in(context)).key
    assert stage.scoring.scorer is not None
    hypotheses = scored_errors(context.store, stage.given or scored, scored, stage.target)
    metrics = list(_figures(context, hypotheses.rows, stage.target, stage.scoring.scorer, hypotheses.role))
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


class ScoredErrors(NamedTuple):
    """Hypotheses that have both a score and errors."""

    rows: pa.Table
    """instance_id, sample_index, score, and mm by error, null where it is not known; sorted by the first two."""
    role: str
    """Which hypotheses they are, in words."""


def scored_errors(store: Store, errors_key: StageKey, scores_key: StageKey, target: Target) -> ScoredErrors:
    """Score and errors of every hypothesis of a split that has both; of a policy's samples the random ones."""
    key, where = ["instance_id", "sample_index"], of_target(target)
    columns = [*key, *(f"{name}_mm" for name in ERRORS)]
    record = find(store, errors_key)
    role = _ROLES.get(record.stage, GIVEN) if record is not None else GIVEN
    if role == SAMPLES:
        where = where & (pc.field("sample_index") > 0)
    errors = read(store, "errors", stage_keys=[errors_key], where=where, columns=columns)
    scores = read(store, "scores", stage_keys=[scores_key], columns=[*key, "score"])
    return ScoredErrors(errors.join(scores, keys=key, join_type="inner").sort_by(BY_SAMPLE), role)


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
