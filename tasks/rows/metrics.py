"""A row of `metrics`: one number of one model on one split."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import pyarrow as pa

from infra.stages import StageSpec
from infra.store import Store
from infra.tables import read
from models.statistics import Interval
from schemas.ids import ModelDigest, StageKey, Target
from schemas.tables import build

DIVERSITY = "diversity"
SCORE, EXPECTED, PREFERS = "judge_zero_noise", "judge_expected", "judge_prefers"
BEYOND, BONES = "beyond_limits", "bone_miss"
WATCHED_SCORE, WATCHED_JUDGE, WATCHED_ERROR = "watched_score", "watched_judge", "watched_error"
WATCHED_FIGURES = ("zero_noise", "expected")
"""Names of figures that others than the stage that measures them know: gates, and the report."""


@dataclass(frozen=True)
class Metric:
    """A row of `metrics`, short of its stage."""

    name: str
    role: str
    target: Target
    unit: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    model: ModelDigest | None = None

    @staticmethod
    def of(
        name: str, role: str, target: Target, unit: str, interval: Interval, n: int, model: ModelDigest | None = None
    ) -> "Metric":
        """A value with its interval."""
        return Metric(name, role, target, unit, interval.value, n, interval.low, interval.high, model)


_PLAIN = tuple(field.name for field in fields(Metric) if field.name != "target")


def metrics_table(metrics: Sequence[Metric], spec: StageSpec) -> pa.Table:
    """Rows of `metrics`."""
    return build(
        "metrics",
        {
            **{name: [getattr(metric, name) for metric in metrics] for name in _PLAIN},
            "dataset": [metric.target.dataset for metric in metrics],
            "split": [metric.target.split for metric in metrics],
            "stage_key": [spec.key] * len(metrics),
            "round": [spec.recorded_round] * len(metrics),
        },
    )


def read_metrics(store: Store, stage_key: StageKey) -> list[Metric]:
    """The metrics that a finished stage wrote."""
    rows = read(store, "metrics", stage_keys=[stage_key]).to_pylist()
    return [Metric(target=Target(row["dataset"], row["split"]), **{name: row[name] for name in _PLAIN}) for row in rows]
