"""Evaluate as published: the four columns of the published tables, from what `measure_published` has measured.

Metrics are published_min, published_select, published_zero_noise and published_hypotheses_mean, each with suffix
_mpvpe, _mpjpe or _pa_mpjpe (mm); their role is the protocol. What is published as "select" is always the mean of the
five best-scored hypotheses, and "min" ranges over it and the mean of all too. Without a scorer nothing is averaged or
selected, and "hypotheses_mean" is the last hypothesis, as published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from infra.store import Store
from models.published_metrics import published_columns
from models.statistics import bootstrap_mean
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.evaluation.measure_published import MeasurePublished, candidate_errors
from tasks.rows.metrics import Metric, metrics_table


@dataclass(frozen=True)
class EvaluatePublished(WholeStage):
    """The published figures of the errors that the stage `measurement` measures -> table `metrics`.

    DataError where it left no instance. Run again, it goes on from the shards that are done.
    """

    measurement: MeasurePublished

    name = "evaluate_published"
    writes = ("metrics",)
    on_ray = True  # the stage that it measures with is

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return context.config.evaluate.bootstrap

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (self.measurement.key(context),)

    def models(self, context: Context) -> Sequence[ModelDigest]:
        return self.measurement.models(context)

    def make(self, context: Context) -> Rows:
        stage = self.measurement
        table = published_table(context.store, stage.run(context).key, stage.scorer is not None)
        metrics = []
        for name, values in table.figures.items():
            mean = bootstrap_mean(values, **context.config.evaluate.bootstrap)
            metrics.append(Metric.of(name, stage.protocol, stage.target, "mm", mean, len(values), stage.policy))
        return Rows({"metrics": metrics_table(metrics, self.spec(context))})


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
