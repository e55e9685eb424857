"""Measures of M samples of a person against one truth: the best of any m of them, the energy score, and whether they
spread as far as they err.

All take the random samples alone: the zero-noise one is drawn from another distribution. Points are metres, results mm.
"""

from math import comb

import numpy as np
from numpy.typing import NDArray

from models.measures import MM_PER_M

Floats = NDArray[np.float64]

BEST_OF = (1, 5, 10, 25, 50, 100)
"""The m of the curve of the best of m."""


def best_of_sizes(drawn: int) -> tuple[int, ...]:
    """The m of the curve for which `drawn` samples suffice."""
    return tuple(size for size in BEST_OF if size <= drawn)


def expected_best(errors: Floats, size: int) -> Floats:
    """The least error among `size` of the M samples, as a mean over all choices of that many: (..., M) -> (...).

    Unbiased for a fresh draw of `size` samples, where the first `size` alone would be one noisy choice. The i-th least
    of M is the least of comb(M - i, size - 1) of the comb(M, size) choices. ValueError unless 1 <= size <= M.
    """
    drawn = errors.shape[-1]
    if not 1 <= size <= drawn:
        raise ValueError(f"the best of {size} can't be told from {drawn} samples")
    chances = np.array([comb(drawn - place, size - 1) / comb(drawn, size) for place in range(1, drawn + 1)])
    best: Floats = np.sort(errors, axis=-1) @ chances
    return best


def energy_score(samples: Floats, truth: Floats) -> Floats:
    """Energy score (mm), the mean over joints: samples (N, M, J, 3), truth (N, J, 3) -> (N,).

    Of a joint: the mean distance of its samples from the truth, less half the mean distance of two different samples
    from each other (the fair form: Ferro, 2014). Gneiting & Raftery, "Strictly Proper Scoring Rules", JASA 2007,
    eq. 22. It falls with errors, and rises where samples crowd together away from the truth. Of one it is the error.
    """
    count = samples.shape[1]
    away = _distance(samples - truth[:, None]).mean(axis=1)
    if count < 2:
        score: Floats = away.mean(axis=-1) * MM_PER_M
        return score
    apart = np.zeros_like(away)
    for first in range(count - 1):
        apart += _distance(samples[:, first + 1 :] - samples[:, first, None]).sum(axis=1)
    fair: Floats = (away - apart / (count * (count - 1))).mean(axis=-1) * MM_PER_M
    return fair


def spread_and_error(samples: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Squares (mm²) of how far samples spread and how far their mean is from the truth; means over joints, (N,) each.

    samples (N, M, J, 3), M >= 2; truth (N, J, 3). Where the truth is one more draw of what the samples are drawn from,
    both have the same expectation: the variance (ddof 1) counts (M + 1) / M times, as the mean of M samples is not sure
    either (Fortin et al., "Why Should Ensemble Spread Match the RMSE of the Ensemble Mean?", 2014).
    """
    count = samples.shape[1]
    if count < 2:
        raise ValueError("a single sample has no spread")
    spread = samples.var(axis=1, ddof=1).sum(axis=-1).mean(axis=-1) * ((count + 1) / count)
    error = np.square(samples.mean(axis=1) - truth).sum(axis=-1).mean(axis=-1)
    return spread * MM_PER_M**2, error * MM_PER_M**2


def coverage(samples: Floats, truth: Floats, level: float) -> Floats:
    """Share of coordinates whose truth lies in the samples' central interval of `level`, 0 to 1: (N,).

    samples (N, M, J, 3), truth (N, J, 3). M samples cut the line into M + 1 pieces, each of which holds one more draw
    with the same chance; the piece of the truth stands for that span of the distribution, and what of it lies within
    the central `level` counts (the non-randomised PIT: Czado, Gneiting & Held, 2009). So calibrated samples have
    exactly `level` in expectation, whatever M.
    """
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, and is not {level}")
    pieces = samples.shape[1] + 1
    below = (samples < truth[:, None]).sum(axis=1) / pieces
    above = ((samples <= truth[:, None]).sum(axis=1) + 1) / pieces
    inside = np.minimum(above, (1 + level) / 2) - np.maximum(below, (1 - level) / 2)
    covered: Floats = (np.maximum(inside, 0) / (above - below)).mean(axis=(1, 2))
    return covered


def _distance(between: Floats) -> Floats:
    length: Floats = np.sqrt(np.square(between).sum(axis=-1))
    return length
