"""Compare as published: two policies on the same people by a published protocol, in the figures of `published`.

Roles before and after hold the figures themselves (mm), change the relative change (%).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from infra.stages import StageRecord
from models.statistics import bootstrap_mean, paired_bootstrap_change
from schemas.errors import DataError
from tasks.engine.context import Context
from tasks.engine.stage import Rows
from tasks.evaluation.published import published_table
from tasks.rows.metrics import Metric, metrics_table

if TYPE_CHECKING:
    from tasks.stages.published import ComparePublished


def changed(stage: "ComparePublished", context: Context, records: Mapping[str, StageRecord]) -> Rows:
    """All metrics of the comparison of two measurements, by role."""
    store, options = context.store, context.config.evaluate.bootstrap
    tables = {
        role: published_table(store, record.stage_key, scored=record.config["score"] is not None)
        for role, record in records.items()
    }
    ids = sorted(set(tables["before"].ids) & set(tables["after"].ids))
    if not ids:
        raise DataError(f"The two policies have no instance of {stage.target} in common; see the table failures.")
    before, after = (table.among(ids) for table in tables.values())
    metrics = []
    for name in sorted(before.keys() & after.keys()):
        change = paired_bootstrap_change(before[name], after[name], **options)
        policy = records["after"].models[0]
        metrics.append(Metric.of(name, "change", stage.target, "%", change, len(ids), policy))
        for role, values in (("before", before[name]), ("after", after[name])):
            mean = bootstrap_mean(values, **options)
            metrics.append(Metric.of(name, role, stage.target, "mm", mean, len(ids), records[role].models[0]))
    return Rows({"metrics": metrics_table(metrics, stage.spec(context))})
