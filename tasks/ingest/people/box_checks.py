"""A box beside the row's own key-points and mask, and beside its picture: another form of box, or another person's.

A box is x, y, w, h here. Most rows of a file say whether it has two corners (x1, y1, x2, y2) instead: one alone may be
a loose box.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.source.folder import RefusedError

BESIDE: Final = "box disagrees"
CORNERS: Final = "box looks like corners"
_MARGIN: Final = 0.15
"""Of the longer side: key-points may lie so far outside of a box that is tight, or around what is visible."""
_INSIDE: Final = 0.5
"""Share of the key-points that a box must have: of somebody half hidden, boxes show what is visible."""
_FEWEST: Final = 3
_BEYOND: Final = 0.02
"""Share of the picture's side by which a box that is none leaves it; detectors' boxes end at its edge."""
_CLEARLY: Final = 0.1
"""Of intersection over union: so much better one form must fit than the other."""
_MANY_TIMES, _SHARE = 3, 0.3
"""Rows that count for corners, over those against them and over all."""
Values = NDArray[np.float64]


def extent(points: NDArray[Any]) -> Values:
    """(4,) x0, y0, x1, y1 around points (K, 2); NaN points don't count, and with less than three all are NaN."""
    finite = points[np.isfinite(points).all(1)]
    if len(finite) < _FEWEST:
        return np.full(4, np.nan)
    return np.array([*finite.min(0), *finite.max(0)], np.float64)


def overlap(one: Values, other: Values) -> float:
    """Intersection over union of x0, y0, x1, y1."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(sides.clip(0).prod())
    both = float((one[2:] - one[:2]).clip(0).prod() + (other[2:] - other[:2]).clip(0).prod()) - common
    return common / both if both > 0 and np.isfinite(both) else 0.0


def are_corners(boxes: NDArray[Any], extents: NDArray[Any], sizes: NDArray[Any]) -> bool:
    """Whether most of boxes (N, 4) are two corners, by what they should be around.

    extents: (N, 4) x0, y0, x1, y1 of each row's key-points or mask, NaN where it has none; sizes: (N, 2) width and
    height of its picture, NaN where unknown. A row counts for corners if they hold what is in the box and fit it
    clearly better, or, where nothing is known of that, if the box leaves the picture and the corners don't; it counts
    against them the other way round. People near the picture's first pixel count for neither.
    """
    corners = np.asarray(boxes, np.float64)
    finite = np.isfinite(corners).all(1)
    corners = corners[finite]
    as_written = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], 1)
    in_favour, against, leaving = 0, 0, 0
    for x0y0x1y1, as_corners, inner, size in zip(as_written, corners, extents[finite], sizes[finite], strict=True):
        with np.errstate(invalid="ignore"):
            leaves = bool((x0y0x1y1[2:] > size * (1 + _BEYOND)).any())
            fits = bool((as_corners[2:] > as_corners[:2]).all() and not (as_corners[2:] > size * (1 + _BEYOND)).any())
        if np.isfinite(inner).all():
            margin = _MARGIN * (as_corners[2:] - as_corners[:2]).max()
            holds = bool((inner[:2] >= as_corners[:2] - margin).all() and (inner[2:] <= as_corners[2:] + margin).all())
            better = overlap(as_corners, inner) - overlap(x0y0x1y1, inner)
            speaks_for, speaks_against = holds and better > _CLEARLY, not holds or better < -_CLEARLY
        else:
            speaks_for, speaks_against = leaves and fits, not fits
        in_favour, against = in_favour + speaks_for, against + speaks_against
        leaving += speaks_for and leaves
    most = in_favour > _MANY_TIMES * against and in_favour >= _SHARE * len(corners)
    return bool(most and (in_favour >= _FEWEST or in_favour == leaving))


def check_box_form(box: NDArray[Any], corners: bool) -> None:
    """RefusedError for a box of a file that has two corners where x, y, w, h are expected."""
    if corners:
        raise RefusedError(
            CORNERS,
            f"{_words(box)} fits the row's key-points or its picture as x1, y1, x2, y2, and so do most boxes of the "
            "file; boxes are x, y, width, height here",
        )


def check_box_points(
    box: NDArray[Any], points: NDArray[Any], size: tuple[float | None, float | None], what: str = "key-points"
) -> None:
    """RefusedError for a box with less than half of the points (K, 2) that are in the picture; NaN: unknown. A box
    outside of the picture is another check's."""
    width, height = (np.inf if side is None else side for side in size)
    with np.errstate(invalid="ignore"):
        shown = points[(points >= 0).all(1) & (points <= (width, height)).all(1) & np.isfinite(points).all(1)]
    x, y, w, h = np.asarray(box, np.float64)
    if len(shown) < _FEWEST or x >= width or y >= height:
        return
    margin = _MARGIN * max(w, h)
    inside = ((shown >= (x - margin, y - margin)) & (shown <= (x + w + margin, y + h + margin))).all(1)
    if inside.mean() < _INSIDE:
        x0, y0, x1, y1 = extent(shown)
        raise RefusedError(
            BESIDE,
            f"{int(inside.sum())} of {len(shown)} {what} lie in the box {_words(box)}; they reach from ({x0:.0f}, "
            f"{y0:.0f}) to ({x1:.0f}, {y1:.0f}): another person's box, or that of the picture in another size?",
        )


def _words(box: NDArray[Any]) -> str:
    return "(" + ", ".join(f"{side:.4g}" for side in np.asarray(box, np.float64)) + ")"
