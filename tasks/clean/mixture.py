"""Two groups of numbers as a mixture of two normal distributions: where one ends and the other begins, if any do.

Fitted by expectation and maximisation (Dempster, Laird & Rubin, 1977), from the halves below and above the median, so
that the same numbers give the same groups. Whether there are two, the Bayesian information criterion says (Schwarz,
1978).
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]
LEAST: Final = 10
"""Fewer numbers than these are one group."""
_STEPS, _SETTLED = 500, 1e-9
_NARROWEST: Final = 1e-3
"""Of the spread of all numbers: a group that is narrower would be a single number with an infinite likelihood."""


class Mixture(NamedTuple):
    """Two normal distributions, the lower one first; (2,) each."""

    share: Floats
    mean: Floats
    deviation: Floats
    log_likelihood: float

    def chance_of_upper(self, values: Floats) -> Floats:
        """(N,) the chance that each of these values (N,) belongs to the upper one."""
        logs = _logs(values, self)
        chance: Floats = 1 / (1 + np.exp(np.clip(logs[0] - logs[1], -700, 700)))
        return chance


def two_groups(values: Floats, chance: float) -> float | None:
    """The least value between the two means from which on a value belongs to the upper group with this `chance`.

    None where (N,) `values` are better explained by one normal distribution than by two. It is sought between the
    means, as a wide lower group may have more to say of the very highest values than a narrow upper one.
    """
    if len(values) < LEAST or np.ptp(values) == 0:
        return None
    fitted = fit(values)
    one = float(norm.logpdf(values, values.mean(), values.std()).sum())
    # five numbers say what two normal distributions are, two what one is
    if fitted.log_likelihood - one <= 0.5 * (5 - 2) * np.log(len(values)):
        return None
    between = np.linspace(fitted.mean[0], fitted.mean[1], 10_001)
    sure = fitted.chance_of_upper(between) >= chance
    return float(between[np.argmax(sure)]) if sure.any() else float(fitted.mean[1])


def fit(values: Floats) -> Mixture:
    """The mixture of two normal distributions that is likeliest of (N,) `values`, which are not all equal."""
    upper = (values > np.median(values)).astype(np.float64)
    if not 0 < upper.mean() < 1:
        upper = (values > values.mean()).astype(np.float64)
    found = _of_weights(values, upper)
    for _ in range(_STEPS):
        following = _of_weights(values, found.chance_of_upper(values))
        gained = following.log_likelihood - found.log_likelihood
        found = following
        if abs(gained) < _SETTLED * len(values):
            break
    order = np.argsort(found.mean)
    return Mixture(found.share[order], found.mean[order], found.deviation[order], found.log_likelihood)


def _of_weights(values: Floats, upper: Floats) -> Mixture:
    """The mixture whose groups have these members: `upper` (N,) of the second, the rest of the first."""
    weights = np.stack([1 - upper, upper])
    total = np.maximum(weights.sum(axis=1), 1e-12)
    mean = weights @ values / total
    variance = (weights * np.square(values - mean[:, None])).sum(axis=1) / total
    deviation = np.sqrt(np.maximum(variance, (_NARROWEST * values.std()) ** 2))
    made = Mixture(total / len(values), mean, deviation, 0.0)
    logs = _logs(values, made)
    return made._replace(log_likelihood=float(np.logaddexp(logs[0], logs[1]).sum()))


def _logs(values: Floats, of: Mixture) -> Floats:
    """(2, N) logarithm of each group's share times its density."""
    density: Floats = norm.logpdf(values, of.mean[:, None], of.deviation[:, None])
    return density + np.log(of.share)[:, None]
