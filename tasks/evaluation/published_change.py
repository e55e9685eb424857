"""Compare as published: two policies on the same people by a published protocol, in the figures of `published`.

Roles before and after hold the figures themselves (mm), change the relative change (%).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.statistics import bootstrap_mean, paired_bootstrap_change
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.evaluation.measure_published import MeasurePublished
from tasks.evaluation.published import published_table
from tasks.rows.metrics import Metric, metrics_table


@dataclass(frozen=True)
class ComparePublished(WholeStage):
    """What two measurements of one split, by one protocol, say of two policies -> table `metrics`.

    Instances that one of them lacks are left out. DataError where none is left. Run again, it goes on from the shards
    that are done.
    """

    before: MeasurePublished
    after: MeasurePublished

    name = "compare_published"
    writes = ("metrics",)
    on_ray = True  # the stage that it measures with is

    def key_config(self, context: Context) -> Mapping[str, Any]:
        evaluation = context.config.evaluate
        return {"resamples": evaluation.resamples, "seed": evaluation.seed}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return self.before.key(context), self.after.key(context)

    def models(self, context: Context) -> Sequence[ModelDigest]:
        return (*self.before.models(context), self.after.policy)

    def make(self, context: Context) -> Rows:
        config, target = context.config.evaluate, self.before.target
        options = {"resamples": config.resamples, "seed": config.seed}
        before, after = (
            published_table(context.store, stage.run(context).key, stage.scorer is not None)
            for stage in (self.before, self.after)
        )
        ids = sorted(set(before.ids) & set(after.ids))
        if not ids:
            raise DataError(f"The two policies have no instance of {target} in common; see the table failures.")
        figures, others = before.among(ids), after.among(ids)
        metrics = []
        for name in figures.keys() & others.keys():
            for role, values, policy in (
                ("before", figures[name], self.before.policy),
                ("after", others[name], self.after.policy),
            ):
                mean = bootstrap_mean(values, **options)
                metrics.append(Metric.of(name, role, target, "mm", mean, len(ids), policy))
            change = paired_bootstrap_change(figures[name], others[name], **options)
            metrics.append(Metric.of(name, "change", target, "%", change, len(ids), self.after.policy))
        metrics.sort(key=lambda metric: (metric.name, metric.role))
        return Rows({"metrics": metrics_table(metrics, self.spec(context))})
