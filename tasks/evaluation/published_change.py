"""Compare as published: two policies on the same people by a published protocol, in the figures of `published`.

Roles before and after hold the figures themselves (mm), change the relative change (%).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.stages import StageRecord, find
from models.statistics import bootstrap_mean, paired_bootstrap_change
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.evaluation.measure_published import MeasurePublished
from tasks.evaluation.published import published_table
from tasks.rows.metrics import Metric, metrics_table


@dataclass(frozen=True)
class ComparePublished(WholeStage):
    """What two measurements of the split `target`, by one protocol, say of two policies -> table `metrics`.

    Instances that one of them lacks are left out. DataError for a measurement that isn't finished, and where no
    instance is left.
    """

    before: StageKey
    after: StageKey
    target: Target

    name = "compare_published"
    writes = ("metrics",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"target": str(self.target), **context.config.evaluate.bootstrap}

    def make(self, context: Context) -> Rows:
        store, options = context.store, context.config.evaluate.bootstrap
        records = {role: _measured(context, key) for role, key in (("before", self.before), ("after", self.after))}
        tables = {
            role: published_table(store, record.stage_key, scored=record.config["score"] is not None)
            for role, record in records.items()
        }
        ids = sorted(set(tables["before"].ids) & set(tables["after"].ids))
        if not ids:
            raise DataError(f"The two policies have no instance of {self.target} in common; see the table failures.")
        before, after = (table.among(ids) for table in tables.values())
        metrics = []
        for name in sorted(before.keys() & after.keys()):
            change = paired_bootstrap_change(before[name], after[name], **options)
            policy = records["after"].models[0]
            metrics.append(Metric.of(name, "change", self.target, "%", change, len(ids), policy))
            for role, values in (("before", before[name]), ("after", after[name])):
                mean = bootstrap_mean(values, **options)
                metrics.append(Metric.of(name, role, self.target, "mm", mean, len(ids), records[role].models[0]))
        return Rows({"metrics": metrics_table(metrics, self.spec(context))})


def _measured(context: Context, key: StageKey) -> StageRecord:
    record = find(context.store, key)
    if record is None or record.stage != MeasurePublished.name:
        raise DataError(f"There is no finished measurement {key[:12]} in {context.store.url}.")
    return record
