"""Evaluate as published: the four columns of the published tables, from what `measure_published` has measured.

Metrics are published_min, published_select, published_zero_noise and published_hypotheses_mean, each with suffix
_mpvpe, _mpjpe or _pa_mpjpe (mm); their role is the protocol. What is published as "select" is always the mean of the
five best-scored hypotheses, and "min" ranges over it and the mean of all too. Without a scorer nothing is averaged or
selected, and "hypotheses_mean" is the last hypothesis, as published.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from infra.store import Store
from models.published_metrics import published_columns
from models.statistics import bootstrap_mean
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.stage import Rows
from tasks.evaluation.measure_published import candidate_errors
from tasks.rows.metrics import Metric, metrics_table

if TYPE_CHECKING:
    from tasks.stages.published import EvaluatePublished


def evaluated(stage: "EvaluatePublished", context: Context) -> Rows:
    """The figures of what was measured; what is not measured yet is measured first."""
    measured = stage.measurement
    table = published_table(context.store, measured.run(context).key, measured.scorer is not None)
    metrics = []
    for name, values in table.figures.items():
        mean = bootstrap_mean(values, **context.config.evaluate.bootstrap)
        metrics.append(Metric.of(name, measured.protocol, measured.target, "mm", mean, len(values), measured.policy))
    return Rows({"metrics": metrics_table(metrics, stage.spec(context))})


class PublishedTable(NamedTuple):
    """The published figures of every instance."""

    ids: list[str]
    """N instances, sorted."""
    figures: dict[str, np.ndarray]
    """(N,) mm by name, such as published_min_mpvpe."""

    def among(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """The figures of `ids`, which are sorted and all here."""
        rows = np.searchsorted(np.array(self.ids), np.array(ids))
        return {name: values[rows] for name, values in self.figures.items()}


def published_table(store: Store, measured: StageKey, scored: bool) -> PublishedTable:
    """The published figures of what a stage `measure_published` has measured. DataError where that left no instance."""
    ids, candidates = candidate_errors(store, measured, scored)
    figures: dict[str, np.ndarray] = {}
    for name, errors in candidates.items():
        preferred = None
        if scored:  # the mean of the best is always preferred, whatever the scores are
            preferred = torch.zeros(errors.shape)
            preferred[:, 0] = 1
        columns = published_columns(torch.from_numpy(errors.copy()), preferred)._asdict()
        figures |= {f"{figure}_{name}": values.numpy() for figure, values in columns.items()}
    return PublishedTable(ids, {name: values for name, values in figures.items() if not np.isnan(values).any()})
