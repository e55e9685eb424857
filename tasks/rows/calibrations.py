"""What a scorer's score means in millimetres, as rows of `metrics`, and back.

Names are calibration_score_KK (none), calibration_mm_KK (mm, with its interval) and calibration_spread_KK (mm) for the
cells KK of rising score (`models.calibration`), calibration_error (mm), which is taken on other people than the
calibration, and calibrated_by_ERROR: how many hypotheses, by which error. Their role says of which hypotheses
(`tasks.evaluation.scorer`).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from infra.stages import records
from infra.store import Store
from models.calibration import Calibration
from models.statistics import Interval
from schemas.ids import ModelDigest, StageKey, Target
from tasks.rows.metrics import Metric, read_metrics

STAGE: Final = "calibrate_scorer"
MISSED: Final = "calibration_error"
SAMPLES: Final = "policy samples"
"""Role of a calibration, or of correlations, that was made from the random samples of a policy."""
_CELL, _BY = "calibration_score_", "calibrated_by_"


class Calibrated(NamedTuple):
    """A calibration of the store."""

    curve: Calibration
    error: str
    """Which error it is about: mpvpe, ..."""
    target: Target
    role: str
    """Which hypotheses it was made from."""
    people: int
    missed_mm: float | None
    """How far it is off on other people; None where there were too few."""
    stage_key: StageKey


def calibration_metrics(
    curve: Calibration, error: str, hypotheses: int, role: str, target: Target, people: int, scorer: ModelDigest
) -> Iterator[Metric]:
    """A calibration as metrics."""
    for cell, (score, expected, low, high, spread) in enumerate(zip(*curve, strict=True)):
        yield Metric(f"{_CELL}{cell:02d}", role, target, "1", float(score), people, model=scorer)
        interval = Interval(float(expected), float(low), float(high))
        yield Metric.of(f"calibration_mm_{cell:02d}", role, target, "mm", interval, people, scorer)
        yield Metric(f"calibration_spread_{cell:02d}", role, target, "mm", float(spread), people, model=scorer)
    yield Metric(f"{_BY}{error}", role, target, "count", float(hypotheses), people, model=scorer)


def find_calibration(
    store: Store, scorer: ModelDigest | None = None, scores: StageKey | None = None
) -> Calibrated | None:
    """The newest calibration of a scorer, or of the scores that a stage gave; None where there is none."""
    for record in reversed(records(store, STAGE)):
        if (scorer is None or scorer in record.models) and (scores is None or record.reads[-1] == scores):
            return read_calibration(store, record.stage_key)
    return None


def find_expected_mpvpe(store: Store, scorer: ModelDigest) -> Calibrated | None:
    """The newest calibration that says which MPVPE is to be expected of a policy's sample, by the score that rounds
    give it; None where there is none. Others are of noised labels or of another error, scored without the mirror."""
    for record in reversed(records(store, STAGE)):
        if scorer in record.models:
            found = read_calibration(store, record.stage_key)
            if (found.role, found.error) == (SAMPLES, "mpvpe"):
                return found
    return None


def read_calibration(store: Store, key: StageKey) -> Calibrated:
    """What a finished stage wrote."""
    metrics = {metric.name: metric for metric in read_metrics(store, key)}
    cells = sorted(name.removeprefix(_CELL) for name in metrics if name.startswith(_CELL))
    score, expected, spread = (
        [metrics[f"calibration_{part}_{cell}"] for cell in cells] for part in ("score", "mm", "spread")
    )
    columns = (
        [one.value for one in score],
        [one.value for one in expected],
        [one.low for one in expected],
        [one.high for one in expected],
        [one.value for one in spread],
    )
    by = next(name for name in metrics if name.startswith(_BY))
    missed = metrics.get(MISSED)
    return Calibrated(
        Calibration(*(np.array(column, np.float64) for column in columns)),
        by.removeprefix(_BY),
        metrics[by].target,
        metrics[by].role,
        metrics[by].n,
        None if missed is None else missed.value,
        key,
    )
