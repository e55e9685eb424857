"""The work of the stage `measures`: evaluations side by side by the measures that `compare` doesn't have."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from models.statistics import resample
from schemas.config.stages import EvaluateConfig
from schemas.ids import ModelDigest, Target
from tasks.engine.context import Context
from tasks.engine.stage import Rows
from tasks.measures.columns import Columns, measured
from tasks.measures.comparison import change_of, common, gap_of, level_of, numbers
from tasks.measures.table import NEW, Measure
from tasks.rows.metrics import Metric, metrics_table
from tasks.rows.models import policy_used

if TYPE_CHECKING:
    from tasks.measures.stage import Measures


def measures_of(stage: "Measures", context: Context) -> Rows:
    """All metrics of the stage."""
    keys = {"before": stage.before, "after": stage.after, **stage.controls}
    every = {key: measured(context.store, key, context.config) for key in sorted(set(keys.values()))}
    models = {role: policy_used(context.store, key) for role, key in keys.items()}
    metrics: list[Metric] = []
    for target in every[stage.before]:
        # a control may have been measured on some splits only
        roles = [role for role, key in keys.items() if target in every[key]]
        shared = common([every[keys[role]][target] for role in roles])
        if "after" in roles:
            metrics += rows(target, dict(zip(roles, shared, strict=True)), models, context.config.evaluate)
    return Rows({"metrics": metrics_table(metrics, stage.spec(context))})


def rows(
    target: Target,
    columns: Mapping[str, Columns],
    models: Mapping[str, ModelDigest | None],
    config: EvaluateConfig,
) -> Iterator[Metric]:
    """All metrics of a split; `columns` and `models` by role, of the same people."""
    for measure in NEW:
        yield from _of_measure(measure, target, columns, models, config)


def _of_measure(
    measure: Measure,
    target: Target,
    columns: Mapping[str, Columns],
    models: Mapping[str, ModelDigest | None],
    config: EvaluateConfig,
) -> Iterator[Metric]:
    found = numbers(measure, *columns.values())
    if found is None:
        return
    roles, n = list(columns), found[0].shape[1]
    before, after = (roles.index(role) for role in ("before", "after"))
    drawn = resample(np.concatenate(found), **config.bootstrap)
    for place, role in enumerate(roles):
        level = drawn.interval(level_of(measure, place))
        yield Metric.of(measure.name, role, target, measure.unit, level, n, models.get(role))
    for place, role in enumerate(roles):
        change = None if role == "before" else change_of(measure, drawn, before, place)
        if change is None:
            continue
        named = "change" if role == "after" else f"change_{role}"
        yield Metric.of(measure.name, named, target, measure.change_unit, change, n, models.get(role))
        if role != "after":
            apart = drawn.interval(gap_of(measure, after, place, before))
            unit = "percentage points" if measure.is_relative else measure.change_unit
            yield Metric.of(measure.name, f"change_minus_{role}", target, unit, apart, n, models.get("after"))
