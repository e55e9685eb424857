"""Evaluate as published: the four columns of the published tables, from what `measure_published` has measured.

Metrics are published_min, published_select, published_zero_noise and published_hypotheses_mean, each with suffix
_mpvpe, _mpjpe or _pa_mpjpe (mm); their role is the protocol. What is published as "select" is always the mean of the
five best-scored hypotheses, and "min" ranges over it and the mean of all too. Without a scorer nothing is averaged or
selected, and "hypotheses_mean" is the last hypothesis, as published.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

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
        evaluation = context.config.evaluate
        return {"resamples": evaluation.resamples, "seed": evaluation.seed}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (self.measurement.key(context),)

    def models(self, context: Context) -> Sequence[ModelDigest]:
        return self.measurement.models(context)

    def make(self, context: Context) -> Rows:
        measured = self.measurement.run(context).key
        return Rows({"metrics": metrics_table(list(self._figures(context, measured)), self.spec(context))})

    def _figures(self, context: Context, measured: StageKey) -> Iterator[Metric]:
        config, stage = context.config.evaluate, self.measurement
        for name, errors in candidate_errors(context.store, measured, scored=stage.scorer is not None).items():
            preferred = None
            if stage.scorer is not None:  # the mean of the best is always preferred, whatever the scores are
                preferred = torch.zeros(errors.shape)
                preferred[:, 0] = 1
            columns = published_columns(torch.from_numpy(errors.copy()), preferred)
            for figure, values in columns._asdict().items():
                if bool(values.isnan().any()):
                    continue
                mean = bootstrap_mean(values.numpy(), resamples=config.resamples, seed=config.seed)
                yield Metric.of(f"{figure}_{name}", stage.protocol, stage.target, "mm", mean, len(errors), stage.policy)
