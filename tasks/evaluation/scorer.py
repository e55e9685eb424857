"""Evaluate a scorer as published: how its scores go with the errors of hypotheses that it has not made.

The hypotheses are noised labels (`tasks.evaluation.noised_labels`), scored shard by shard by `score_noised`; or those
of a test cache that brought its own errors (ingested from the format scorer-eval), scored by `score`. `evaluate_scorer` turns
scores and errors into metrics: published_pearson, published_spearman and published_kendall over all hypotheses of all
images together, as published, and each with _within for the mean over images of the correlation within an image; with
suffix _mpvpe, _pa_mpvpe, _mpjpe or _pa_mpjpe, as far as the errors are known. Score against *error*: a good scorer has
negative values. Their role says which hypotheses it was: `NOISED` or `GIVEN`. Scores are without the mirrored picture.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.repair import find_or_mend
from infra.stages import StageSpec, commit_rows, now, records
from infra.store import Store
from infra.tables import read
from models.statistics import Correlations, bootstrap_mean, published_correlations
from schemas.errors import DataError
from tasks.engine.context import Context, Target
from tasks.engine.sharded import StageResult
from tasks.evaluation.score_noised import ERRORS, NOISED, as_published, score_noised, score_noised_spec
from tasks.ingest.hypotheses.stage import NAME as INGEST_HYPOTHESES
from tasks.rows.metrics import Metric, metrics_table
from tasks.score import score, score_spec

NAME, VERSION = "evaluate_scorer", 1
GIVEN: Final = "given hypotheses"


def evaluate_scorer_spec(
    context: Context,
    ingest_keys: Sequence[str],
    target: Target,
    scorer: str,
    hypotheses: int,
    bodies: str,
    given: str | None = None,
) -> StageSpec:
    """What `evaluate_scorer` with these arguments is going to do."""
    if given is None:
        reads = [score_noised_spec(context, ingest_keys, target, scorer, hypotheses, bodies).key]
    else:
        reads = [given, score_spec(as_published(context), given, [given], scorer).key]
    evaluation = context.config.evaluate
    decisive = {"target": str(target), "resamples": evaluation.resamples, "seed": evaluation.seed}
    return context.spec(NAME, VERSION, decisive, reads=reads, models=[scorer])


def evaluate_scorer(
    context: Context,
    ingest_keys: Sequence[str],
    target: Target,
    scorer: str,
    hypotheses: int,
    bodies: str,
    given: str | None = None,
) -> StageResult:
    """Correlate the scores of the scorer (a digest) with errors on the split `target` -> table `metrics`.

    On `hypotheses` noised labels of each instance, posed by `bodies`: a folder of published bodies, or the name or file
    of an SMPL body; instances without a gt label are filtered. With `given`, the key of ingested hypotheses that have
    errors, on those instead, and `ingest_keys`, `hypotheses` and `bodies` don't count. DataError where there is nothing
    to correlate.
    """
    arguments = (ingest_keys, target, scorer, hypotheses, bodies)
    spec = evaluate_scorer_spec(context, *arguments, given)
    record = find_or_mend(context.store, spec, context.progress.say)
    if record is not None:
        context.progress.say(f"{NAME}: reused ({spec.key[:12]})")
        return StageResult(record, reused=True)
    started_at = now()
    if given is None:
        errors_key = scores_key = score_noised(context, *arguments).key
    else:
        errors_key, scores_key = given, score(as_published(context), given, [given], scorer).key
    rows = _scored_errors(context.store, errors_key, scores_key)
    role = NOISED if given is None else GIVEN
    found = list(_figures(context, rows, target, scorer, role))
    if not found:
        raise DataError(
            f"Nothing of {target} can be correlated: no kind of error is known of all hypotheses, or all scores or "
            "errors are equal."
        )
    record = commit_rows(context.store, spec, {"metrics": metrics_table(found, spec)}, started_at=started_at)
    return StageResult(record, reused=False)


def given_hypotheses(store: Store, target: Target) -> str | None:
    """The newest ingest of hypotheses of this split that have errors, if there is one."""
    where = (pc.field("dataset") == target.dataset) & (pc.field("split") == target.split)
    keys = [record.stage_key for record in records(store, INGEST_HYPOTHESES)]
    if not keys:
        return None
    rows = read(store, "errors", stage_keys=keys, where=where, columns=["stage_key"])
    having = set(pc.unique(rows.column("stage_key")).to_pylist())
    return next((key for key in reversed(keys) if key in having), None)


def _scored_errors(store: Store, errors_key: str, scores_key: str) -> pa.Table:
    """Score and errors of every hypothesis that has both, sorted by instance and sample."""
    key = ["instance_id", "sample_index"]
    errors = read(store, "errors", stage_keys=[errors_key], columns=[*key, *(f"{name}_mm" for name in ERRORS)])
    scores = read(store, "scores", stage_keys=[scores_key], columns=[*key, "score"])
    both = errors.join(scores, keys=key, join_type="inner")
    return both.sort_by([(name, "ascending") for name in key])


def _figures(context: Context, rows: pa.Table, target: Target, scorer: str, role: str) -> Iterator[Metric]:
    config = context.config.evaluate
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
                mean = bootstrap_mean(usable, resamples=config.resamples, seed=config.seed)
                yield Metric(
                    f"published_{figure}_within_{name}",
                    role,
                    target,
                    "1",
                    mean.value,
                    len(usable),
                    mean.low,
                    mean.high,
                    scorer,
                )
