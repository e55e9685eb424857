"""The work of watching for reward hacking: the scorer's score beside a judge's and the true error, before and after.

Figures, per split, each for zero_noise (sample 0) and expected (the mean of the random samples):
    watched_score_*   score by the scorer that chose what was trained on
    watched_judge_*   score by the judge, where there is one
    watched_error_*   MPVPE, where labels are

Roles: before and after hold the figures themselves; change the difference of scores, after less before, and the
relative change of errors (%), both paired over people.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from infra.store import Store
from infra.tables import read, read_ids
from models.statistics import bootstrap_mean, paired_bootstrap_change
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey, Target, split_of
from tasks.engine.context import Context
from tasks.engine.stage import Rows
from tasks.rows.hypotheses import BY_SAMPLE
from tasks.rows.metrics import WATCHED_ERROR, WATCHED_FIGURES, WATCHED_JUDGE, WATCHED_SCORE, Metric, metrics_table
from tasks.rows.models import policy_used

if TYPE_CHECKING:
    from tasks.stages.watch import Watch

FIGURES = dict(zip(WATCHED_FIGURES, (slice(0, 1), slice(1, None)), strict=True))
"""Which samples each is the mean of."""


class _Source(NamedTuple):
    """Where a figure's numbers are, before and after."""

    table: str
    column: str
    keys: tuple[StageKey, StageKey]


def watched(stage: "Watch", context: Context) -> Rows:
    """All metrics of a watch."""
    store, sources = context.store, _sources(stage, context.store)
    known = [
        set(read_ids(store, source.table, stage_keys=[key]).to_pylist())
        for source in sources.values()
        for key in source.keys
    ]
    ids = sorted(set.intersection(*known))
    if not ids:
        raise DataError("There is nobody of whom both policies have scores to be watched; see the table failures.")
    policies = [policy_used(store, key) for key in (stage.before, stage.after)]
    targets = np.array([str(split_of(name)) for name in ids])
    metrics: list[Metric] = []
    for name, source in sources.items():
        sides = [_values(store, source, key, ids) for key in source.keys]
        for target in sorted({split_of(one) for one in ids}):
            of_split = [side[targets == str(target)] for side in sides]
            metrics += _compared(context, name, target, of_split, policies)
    return Rows({"metrics": metrics_table(metrics, stage.spec(context))}, units=len(ids))


def _sources(stage: "Watch", store: Store) -> dict[str, _Source]:
    """By what is watched."""
    sources = {WATCHED_SCORE: _Source("scores", "score", (stage.scores_before, stage.scores_after))}
    if stage.judged_before is not None and stage.judged_after is not None:
        sources[WATCHED_JUDGE] = _Source("scores", "score", (stage.judged_before, stage.judged_after))
    measured = stage.before, stage.after
    if all(len(read_ids(store, "errors", stage_keys=[key])) for key in measured):
        sources[WATCHED_ERROR] = _Source("errors", "mpvpe_mm", measured)
    return sources


def _values(store: Store, source: _Source, key: StageKey, ids: Sequence[str]) -> np.ndarray:
    """(N, M) of the samples of these people, who are sorted. DataError where some have more samples than others."""
    columns = ["instance_id", "sample_index", source.column]
    rows = read(store, source.table, stage_keys=[key], ids=ids, columns=columns).sort_by(BY_SAMPLE)
    if len(rows) % len(ids) or rows.column("instance_id").to_pylist()[:: len(rows) // len(ids)] != list(ids):
        raise DataError(f"The stage {key[:12]} has not the same samples of everybody: they can't be watched.")
    values: np.ndarray = rows.column(source.column).to_numpy().reshape(len(ids), -1)
    return values


def _compared(
    context: Context, name: str, target: Target, sides: list[np.ndarray], policies: Sequence[ModelDigest | None]
) -> Iterator[Metric]:
    """The metrics of one figure on one split; `sides` (N, M) before and after."""
    options, of_error = context.config.evaluate.bootstrap, name == WATCHED_ERROR
    for figure, samples in FIGURES.items():
        before, after = (side[:, samples].mean(1) for side in sides)
        for role, values, policy in zip(("before", "after"), (before, after), policies, strict=True):
            mean = bootstrap_mean(values, **options)
            yield Metric.of(f"{name}_{figure}", role, target, "mm" if of_error else "score", mean, len(values), policy)
        if of_error:
            change, unit = paired_bootstrap_change(before, after, **options), "%"
        else:
            change, unit = bootstrap_mean(after - before, **options), "score"
        yield Metric.of(f"{name}_{figure}", "change", target, unit, change, len(after), policies[1])
