"""A row of `metrics`: one number of one model on one split."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from infra.stages import StageSpec
from infra.store import Store
from infra.tables import read
from schemas.ids import Target
from schemas.tables import build


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
    model: str | None = None


def metrics_table(found: Sequence[Metric], spec: StageSpec) -> pa.Table:
    """Rows of `metrics`."""
    return build(
        "metrics",
        {
            "stage_key": [spec.key] * len(found),
            "name": [metric.name for metric in found],
            "unit": [metric.unit for metric in found],
            "value": [metric.value for metric in found],
            "low": [metric.low for metric in found],
            "high": [metric.high for metric in found],
            "n": [metric.n for metric in found],
            "model": [metric.model for metric in found],
            "dataset": [metric.target.dataset for metric in found],
            "split": [metric.target.split for metric in found],
            "role": [metric.role for metric in found],
            "round": [spec.recorded_round] * len(found),
        },
    )


def read_metrics(store: Store, stage_key: str) -> list[Metric]:
    """The metrics that a finished stage wrote."""
    rows = read(store, "metrics", stage_keys=[stage_key]).to_pylist()
    return [
        Metric(
            row["name"],
            row["role"],
            Target(row["dataset"], row["split"]),
            row["unit"],
            row["value"],
            row["n"],
            row["low"],
            row["high"],
            row["model"],
        )
        for row in rows
    ]
