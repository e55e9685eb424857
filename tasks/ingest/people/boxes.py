"""Tables of boxes: one row per person, as CSV, Parquet or JSON, each value as the table has it until a row is judged.

A bad row costs that row alone; a table that can't be read at all, or lacks a column, is a DataError.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.errors import DataError
from tasks.ingest.people.box_tables import SURPLUS, BoxTable, read_rows
from tasks.ingest.source.folder import RefusedError

REQUIRED = ("path", "x", "y", "w", "h")
OPTIONAL = ("person", "focal_px", "cx", "cy")
LARGEST = 1e7
"""Pixels: no box, focal length or principal point is larger."""
_LARGEST_PART = 2.0
"""Of a picture's sides: a larger box that should be in such parts is in something else."""
_ABSENT = ("", "nan", "none", "null", "na")


@dataclass(frozen=True)
class BoxRow:
    """What a good row says; pixels of the upright picture. None where the table leaves it open."""

    box: tuple[float, float, float, float]
    """x, y, w, h."""
    focal_px: float | None
    cx: float | None
    cy: float | None


def read_boxes(url: str, required: Sequence[str] = REQUIRED) -> BoxTable:
    """The rows of a table of boxes. Raises DataError if it can't be read, lacks a column, or has no row.

    `required`: the columns that it must have; those of a video name a frame in place of a path. Names count whatever
    their case is, and blanks around them don't.
    """
    table = read_rows(url, (*required, *OPTIONAL))
    missing = [name for name in required if name not in table.columns]
    if not table.rows:
        raise DataError(f"The table of boxes {url} has no row; it needs one for each person.")
    if missing:
        raise DataError(
            f"The table of boxes {url} lacks the columns {', '.join(missing)}; it has "
            f"{', '.join(table.names) or 'none'}. Needed: {', '.join(required)}; optional: {', '.join(OPTIONAL)}."
            f"{_advice(table.names)}"
        )
    return table


def _advice(names: Sequence[str]) -> str:
    """What to do about columns that say the same in another way."""
    plain = {name.strip().lower() for name in names}
    if {"x1", "y1", "x2", "y2"} <= plain or {"xmin", "ymin", "xmax", "ymax"} <= plain:
        return " From two corners: x, y are the upper left one, w, h the lower right one less that."
    return ""


def parse_row(row: Mapping[str, Any], relative: bool = False) -> BoxRow:
    """A row's box and camera. Raises RefusedError for values that can't be used: a box without area, say.

    A `relative` box is in parts of the picture's width and height.
    """
    if row.get(SURPLUS):
        raise RefusedError("row not readable", f"{SURPLUS}: does a path with a comma lack its quotes?")
    values = [number_or_nan(row.get(name)) for name in "xywh"]
    shown = ", ".join(f"{name}={row.get(name)}" for name in "xywh")
    if not all(math.isfinite(value) for value in values):
        raise RefusedError("box not finite", shown)
    x, y, w, h = values
    if relative and not (0 < w <= _LARGEST_PART and 0 < h <= _LARGEST_PART):
        raise RefusedError("box not in parts", f"{shown}: parts of the picture's width and height are expected")
    if not relative and (w < 1 or h < 1):
        parts = " (they look like parts of the picture's width and height)" if 0 < w <= 1 and 0 < h <= 1 else ""
        raise RefusedError("box without area", f"{shown}: w and h must be at least one pixel{parts}")
    if max(abs(value) for value in values) > LARGEST:
        raise RefusedError("box far too large", f"{shown}: no picture has {LARGEST:g} pixels across")
    focal_px, cx, cy = (_optional(row, name) for name in ("focal_px", "cx", "cy"))
    if focal_px is not None and focal_px <= 0:
        raise RefusedError("camera not usable", f"focal_px={focal_px:g}: a focal length is positive")
    return BoxRow((x, y, w, h), focal_px, cx, cy)


def person_of(row: Mapping[str, Any]) -> int:
    """Which person of the picture a row is about. Raises RefusedError where that is no whole number from 0."""
    value = number_or_nan(row.get("person"))
    if not math.isfinite(value) or value != int(value) or not 0 <= value < LARGEST:
        raise RefusedError("person not usable", f"person={row.get('person')}: a whole number from 0 is expected")
    return int(value)


def _optional(row: Mapping[str, Any], name: str) -> float | None:
    written = row.get(name)
    if written is None or str(written).strip().lower() in _ABSENT:
        return None
    value = number_or_nan(written)
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise RefusedError("camera not usable", f"{name}={written}: a number of pixels is expected, or nothing")
    return value


def number_or_nan(value: Any) -> float:
    """The number that a value is or spells, else NaN."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
