"""Training curves over windows of steps: a single batch says little, and its noise hides what many say."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_WINDOWS: Final = 12
"""How many of them fit side by side into a curve, about."""
_LEAST: Final = 5
"""Points of a window; a curve that has no room for two such is drawn point by point."""


class Windows(NamedTuple):
    """A curve as it is drawn: W places, each of which stands for the points of a window."""

    steps: NDArray[np.floating]
    """(W,) mean optimiser step of a window."""
    median: NDArray[np.floating]
    """(W,) nan where a window has no number."""
    low: NDArray[np.floating]
    """(W,) a quarter of the window's points lie below."""
    high: NDArray[np.floating]
    """(W,) a quarter of them lie above."""
    points: int
    """Points of a window."""


def windows(steps: NDArray[np.number], values: NDArray[np.floating]) -> Windows:
    """The running median of a curve (S,) with the middle half about it. Few points are a window each.

    A window holds a twelfth of the points, at least five, and is moved on by one point. What is not finite is left
    out of it.
    """
    size = max(_LEAST, round(len(steps) / _WINDOWS)) if len(steps) >= 2 * _LEAST else 1
    if not len(steps):
        nothing = np.zeros(0)
        return Windows(nothing, nothing, nothing, nothing, size)
    finite = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    seen = np.lib.stride_tricks.sliding_window_view(finite, size)
    places = np.lib.stride_tricks.sliding_window_view(np.asarray(steps, np.float64), size).mean(axis=1)
    low, median, high = np.full((3, len(seen)), np.nan)
    known = np.isfinite(seen).any(axis=1)
    if known.any():
        low[known], median[known], high[known] = np.nanpercentile(seen[known], [25, 50, 75], axis=1)
    return Windows(places, median, low, high, size)
