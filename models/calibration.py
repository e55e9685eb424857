"""What a score means in millimetres: the expected error by score, how sure that is, and how much errors scatter.

Isotonic regression (Barlow et al., "Statistical Inference under Order Restrictions", 1972): of all functions that never
rise with the score, the one that fits errors best. It is fitted to means over cells of equally many hypotheses, and
resampled over instances, as all intervals here are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.statistics import RESAMPLES

Floats = NDArray[np.float64]
CELLS = 20
_LEVELS = (2.5, 97.5)
_RESAMPLED_AT_ONCE = 100


class Calibration(NamedTuple):
    """By C cells of rising score; (C,) each."""

    score: Floats
    """Mean score of a cell."""
    expected_mm: Floats
    """Error that is to be expected of a hypothesis with this score; never rises."""
    low_mm: Floats
    high_mm: Floats
    """95 % interval of the expected error, by resampled instances."""
    spread_mm: Floats
    """How far the error of a single hypothesis is from the expected one: root of the mean square."""

    def of(self, scores: ArrayLike) -> Floats:
        """Expected errors (mm) of scores; straight between cells, level beyond the first and the last."""
        return np.interp(np.asarray(scores, np.float64), self.score, self.expected_mm)


def calibrate(scores: ArrayLike, errors_mm: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Calibration:
    """The calibration by M hypotheses of N instances, (N, M) both.

    ValueError on other shapes, and where all scores are equal.
    """
    score, error = np.asarray(scores, np.float64), np.asarray(errors_mm, np.float64)
    if score.ndim != 2 or score.shape != error.shape:
        raise ValueError(f"scores {score.shape} and errors {error.shape} must both be (N, M)")
    cell = _cells(score)
    count, total, of_score = (_sums(cell, values) for values in (np.ones_like(score), error, score))
    weight = count.sum(0)
    expected = _falling(total.sum(0) / weight, weight)
    low, high = np.percentile(np.concatenate([*_resampled(count, total, resamples, seed)]), _LEVELS, axis=0)
    square = _sums(cell, np.square(error - expected[cell])).sum(0)
    return Calibration(of_score.sum(0) / weight, expected, low, high, np.sqrt(square / weight))


def calibration_error(scores: ArrayLike, errors_mm: ArrayLike) -> float | None:
    """By how many mm the expected error misses the mean error of a cell of scores, on average over hypotheses.

    Each half of the instances, every other one, is measured by the calibration of the other half. None where there are
    too few instances for that, or all scores of a half are equal.
    """
    score, error = np.asarray(scores, np.float64), np.asarray(errors_mm, np.float64)
    halves = [score[first::2] for first in (0, 1)]
    if any(not half.size or (half == half.flat[0]).all() for half in halves):
        return None
    missed = hypotheses = 0.0
    for first in (0, 1):
        fitted = calibrate(score[first::2], error[first::2], resamples=1)
        others, theirs = score[1 - first :: 2], error[1 - first :: 2]
        cell = _cells(others)
        missed += float(np.abs(_sums(cell, theirs - fitted.of(others)).sum(0)).sum())
        hypotheses += others.size
    return missed / hypotheses


def _cells(score: Floats) -> NDArray[np.int64]:
    """(N, M) the cell of each hypothesis, numbered by rising score; equal scores are in one cell."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, CELLS + 1)[1:-1]))
    cell = np.searchsorted(edges, score, side="right")
    found, numbered = np.unique(cell, return_inverse=True)
    if len(found) < 2:
        raise ValueError("all scores are equal: they say nothing of errors")
    return numbered.reshape(score.shape)


def _sums(cell: NDArray[np.int64], values: Floats) -> Floats:
    """(N, C) sums of values (N, M) by instance and cell."""
    sums = np.zeros((len(cell), int(cell.max()) + 1))
    np.add.at(sums, (np.arange(len(cell))[:, None], cell), values)
    return sums


def _resampled(count: Floats, total: Floats, resamples: int, seed: int) -> Iterator[Floats]:
    """Expected errors (R, C) of resampled instances, some at a time."""
    generator = np.random.Generator(np.random.Philox(seed))
    people = len(count)
    for start in range(0, resamples, _RESAMPLED_AT_ONCE):
        size = min(_RESAMPLED_AT_ONCE, resamples - start)
        drawn = generator.multinomial(people, np.full(people, 1 / people), size).astype(np.float64)
        weight, sums = drawn @ count, drawn @ total
        # a cell that nobody of a resample is in has no weight, and takes its neighbours' value
        means = np.divide(sums, weight, out=np.zeros_like(sums), where=weight > 0)
        yield np.stack([_falling(mean, np.maximum(of, 1e-9)) for mean, of in zip(means, weight, strict=True)])


def _falling(means: Floats, weight: Floats) -> Floats:
    from scipy.optimize import isotonic_regression  # slow to import, and most who import this module fit nothing

    fitted: Floats = isotonic_regression(means, weights=weight, increasing=False).x
    return fitted
