"""What may be said of many numbers: rank correlations, AUC, and bootstrap intervals over instances.

Every interval is a 95 % percentile bootstrap (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13). It
resamples *instances*, and all columns of an instance together (paired), from Philox streams: the same arguments give
the same numbers everywhere, and functions that share seed and N look at the same resamples.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000
_LEVELS = (2.5, 97.5)
_INDICES_AT_ONCE = 2_000_000


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class WithinSpearman(NamedTuple):
    """How well scores order the hypotheses of one instance, over many instances; 1 is perfect, 0 is chance."""

    value: float
    """Mean over the instances that could be used; nan where there is none."""
    used: int
    left_out: int
    """Instances whose scores, or whose errors, are all equal: nothing to rank."""
    per_instance: Floats
    """(N,) the correlations, nan for those left out."""


def within_spearman(scores: ArrayLike, errors: ArrayLike) -> WithinSpearman:
    """Spearman correlation of score and *negative* error within each instance, averaged: higher is better.

    scores, errors: (N, M), M hypotheses of N instances. Raises ValueError on other shapes or where a number is not
    finite.
    """
    score, error = _finite(scores, "scores", 2), _finite(errors, "errors", 2)
    _same_shape(scores=score, errors=error)
    correlation = _rank_correlation(score, -error)
    used = ~np.isnan(correlation)
    value = float(correlation[used].mean()) if used.any() else float("nan")
    return WithinSpearman(value, int(used.sum()), int((~used).sum()), correlation)


def overall_spearman(scores: ArrayLike, errors: ArrayLike) -> float:
    """Spearman correlation of score and *negative* error over all hypotheses of all instances together.

    scores, errors: any shape, the same for both. nan where one of them is constant. Easier than `within_spearman`:
    telling hard instances from easy ones is enough for a high value.
    """
    score, error = _finite(scores, "scores"), _finite(errors, "errors")
    _same_shape(scores=score, errors=error)
    return float(_rank_correlation(score.reshape(1, -1), -error.reshape(1, -1))[0])


class Correlations(NamedTuple):
    """Pearson, Spearman and Kendall (tau-b) correlations: PLCC, SRCC, KRCC of the literature."""

    pearson: float
    spearman: float
    kendall: float


def published_correlations(scores: ArrayLike, errors: ArrayLike) -> Correlations:
    """Correlations of score and *error* over all hypotheses of all instances together, as published for HMR-Scorer.

    Mind the sign: a good scorer has negative values here, and positive ones in the functions above. scores, errors:
    any shape, the same for both. nan where one of them is constant or there are fewer than two.
    """
    score, error = _finite(scores, "scores"), _finite(errors, "errors")
    _same_shape(scores=score, errors=error)
    score, error = score.ravel(), error.ravel()
    if score.size < 2 or (score == score[0]).all() or (error == error[0]).all():
        return Correlations(float("nan"), float("nan"), float("nan"))
    from scipy import stats  # half a second: many who import this module rank nothing

    return Correlations(
        float(stats.pearsonr(score, error)[0]),
        float(stats.spearmanr(score, error)[0]),
        float(stats.kendalltau(score, error)[0]),
    )


def auc(score_of_good: ArrayLike, score_of_bad: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a good one scores higher than a bad one, ties counting half.

    Any shapes; neither may be empty. From the rank sum (Hanley & McNeil, Radiology 1982).
    """
    good, bad = _finite(score_of_good, "score_of_good").ravel(), _finite(score_of_bad, "score_of_bad").ravel()
    if not good.size or not bad.size:
        raise ValueError(f"auc needs scores of both kinds, not {good.size} good and {bad.size} bad ones")
    from scipy import stats  # half a second: many who import this module rank nothing

    ranks = stats.rankdata(np.concatenate([good, bad]))
    above = ranks[: good.size].sum() - good.size * (good.size + 1) / 2
    return float(above / (good.size * bad.size))


def paired_bootstrap_change(before: ArrayLike, after: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Relative change of the mean in percent, (after / before - 1) * 100, paired over instances.

    before, after: (N,), row i of both belongs to instance i. Raises ValueError where `before` is not positive.
    """
    columns = _columns(before=before, after=after)
    return _bootstrap(columns, lambda mean: _change(mean[0], mean[1]), resamples, seed)


def bootstrap_mean(values: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean over instances of `values` (N,), in their own unit."""
    return _bootstrap(_columns(values=values), lambda mean: mean[0], resamples, seed)


def bootstrap_difference_of_changes(
    before: ArrayLike, a: ArrayLike, b: ArrayLike, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Change of `a` minus change of `b`, both against `before`, in percentage points, paired over instances.

    All (N,). Below zero: `a` lowered the error more than `b` did. Raises ValueError where `before` is not positive.
    """
    columns = _columns(before=before, a=a, b=b)
    return _bootstrap(columns, lambda mean: _change(mean[0], mean[1]) - _change(mean[0], mean[2]), resamples, seed)


class Resampled(NamedTuple):
    """Means over instances of several columns, for any statistics of them: all by the same resamples."""

    mean: Floats
    """(C, 1) of all instances."""
    means: Floats
    """(C, R) of each resample."""

    def interval(self, statistic: Callable[[Floats], Floats]) -> Interval:
        """A `statistic` of the means, which maps (C, R) to (R,)."""
        low, high = np.percentile(statistic(self.means), _LEVELS)
        return Interval(float(statistic(self.mean)[0]), float(low), float(high))


def resample(columns: Sequence[ArrayLike] | Floats, resamples: int = RESAMPLES, seed: int = 0) -> Resampled:
    """Resample instances, all `columns` (N,) of an instance together."""
    return _resample(_columns(**{f"columns[{place}]": column for place, column in enumerate(columns)}), resamples, seed)


def t_interval(values: ArrayLike) -> Interval:
    """Mean of `values` (N,), one of each seed, with Student's 95 % interval: for few numbers that stand for many more.

    A bootstrap over three or five of them would be too narrow. Both ends are nan where there is one value alone.
    """
    (numbers,) = _columns(values=values)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return Interval(mean, float("nan"), float("nan"))
    from scipy import stats  # half a second: many who import this module rank nothing

    half = float(stats.t.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers)))
    return Interval(mean, mean - half, mean + half)


def _change(before: Floats, after: Floats) -> Floats:
    if (before <= 0).any():
        raise ValueError("a relative change needs a positive mean before; errors and distances have one")
    return (after / before - 1) * 100


def _bootstrap(columns: Floats, statistic: Callable[[Floats], Floats], resamples: int, seed: int) -> Interval:
    """`statistic` maps means (columns, R) to (R,); it is taken of the data and of each resample's means."""
    return _resample(columns, resamples, seed).interval(statistic)


def _resample(columns: Floats, resamples: int, seed: int) -> Resampled:
    if resamples < 1:
        raise ValueError(f"resamples must be 1 or more, not {resamples}")
    generator = np.random.Generator(np.random.Philox(seed))
    count = columns.shape[1]
    block = max(1, _INDICES_AT_ONCE // count)
    means = np.empty((len(columns), resamples))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        chosen = generator.integers(0, count, (size, count))
        for row, column in enumerate(columns):
            means[row, start : start + size] = column[chosen].mean(1)
    return Resampled(columns.mean(1, keepdims=True), means)


def _rank_correlation(first: Floats, second: Floats) -> Floats:
    """Spearman of each row of (N, M) with the same row of the other, ties averaged; nan for constant rows."""
    from scipy import stats  # half a second: many who import this module rank nothing

    ranks = [stats.rankdata(values, axis=1) if values.size else values for values in (first, second)]
    centred = [rank - (first.shape[1] + 1) / 2 for rank in ranks]
    scale = np.sqrt(np.square(centred[0]).sum(1) * np.square(centred[1]).sum(1))
    product = (centred[0] * centred[1]).sum(1)
    return np.divide(product, scale, out=np.full(len(first), np.nan), where=scale > 0)


def _finite(values: ArrayLike, name: str, dimensions: int | None = None) -> Floats:
    array = np.asarray(values, np.float64)
    if dimensions is not None and array.ndim != dimensions:
        raise ValueError(f"{name} must have {dimensions} dimension(s), not shape {array.shape}")
    if not np.isfinite(array).all():
        where = tuple(int(axis) for axis in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}: leave failed hypotheses out before counting")
    return array


def _columns(**named: ArrayLike) -> Floats:
    arrays = {name: _finite(values, name, 1) for name, values in named.items()}
    _same_shape(**arrays)
    columns = np.stack(list(arrays.values()))
    if not columns.shape[1]:
        raise ValueError(f"{', '.join(named)}: no instances, so there is nothing to take a mean of")
    return columns


def _same_shape(**named: Floats) -> None:
    if len({array.shape for array in named.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in named.items())
        raise ValueError(f"the arrays must have one shape: {shapes}")
