"""Filters: which of the scored labels are kept, each a row of `FILTERS`.

All but the random one keep what scores above a limit that they find, so that a better-scored label is never dropped for
a worse one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from infra.noise import generator
from models.calibration import Calibration
from schemas.config.stages import AnyFilter
from schemas.errors import DataError
from tasks.clean.mixture import two_groups
from tasks.clean.names import AT_RANDOM, BELOW, BEYOND_ERROR, NOT_DRAWN, WORSE_GROUP

Floats = NDArray[np.float64]
Kept = NDArray[np.bool_]


@dataclass(frozen=True)
class ScoredLabels:
    """N labels, sorted by person, and what filters go by."""

    scores: Floats
    """(N,) between 0 and 1."""
    share: float
    """Of the labels that a quantile keeps."""
    max_error_mm: float
    least_chance: float
    calibration: Calibration | None
    """What a score means; None where no filter asks."""
    count: int
    """How many are drawn at random."""
    seed: int


class Filter(NamedTuple):
    """A way to choose labels."""

    keep: Callable[[ScoredLabels], Kept]
    reason: str
    """Of those that are dropped, in `failures`."""


def best_share(scores: Floats, share: float) -> Kept:
    """(N,) bool: the `share` of scores (N,) that is highest; among equal ones the first."""
    kept = np.zeros(len(scores), bool)
    kept[np.argsort(-scores, kind="stable")[: round(share * len(scores))]] = True
    return kept


def _quantile(given: ScoredLabels) -> Kept:
    return best_share(given.scores, given.share)


def _calibrated(given: ScoredLabels) -> Kept:
    if given.calibration is None:
        raise DataError("Labels can't be filtered by their error: no calibration says what a score means.")
    kept: Kept = given.calibration.of(given.scores) <= given.max_error_mm
    return kept


def _mixture(given: ScoredLabels) -> Kept:
    # scores crowd together at 0 and 1, where their logits, which the scorer gives, don't
    tiny = np.finfo(np.float64).tiny
    raw = logit(np.clip(given.scores, tiny, 1 - np.finfo(np.float64).epsneg))
    limit = two_groups(raw, given.least_chance)
    return np.ones(len(raw), bool) if limit is None else raw >= limit


def _random(given: ScoredLabels) -> Kept:
    kept = np.zeros(len(given.scores), bool)
    # a stream of its own: whose labels are swapped on purpose is drawn by the same seed
    order = generator(given.seed, "", 0, AT_RANDOM).permutation(len(given.scores))
    kept[order[: given.count]] = True
    return kept


FILTERS: Final[dict[AnyFilter, Filter]] = {
    "quantile": Filter(_quantile, BELOW),
    "calibrated": Filter(_calibrated, BEYOND_ERROR),
    "mixture": Filter(_mixture, WORSE_GROUP),
    "random": Filter(_random, NOT_DRAWN),
}
"""By their names in `clean.filter`; `random` is the control."""
