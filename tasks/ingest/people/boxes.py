"""Tables of boxes: one row a person, as CSV, Parquet or JSON, each value as it stands until a row is judged.

A bad row costs that row alone; a table that can't be read at all, or lacks a column, is a DataError.
"""

import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import DataError
from tasks.ingest.people.box_tables import SURPLUS, read_rows
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


@dataclass(frozen=True)
class BoxTable:
    """Rows as they stand in a table. `columns` are those that mean something to us, `ignored` the others."""

    rows: tuple[Mapping[str, Any], ...]
    columns: frozenset[str]
    ignored: tuple[str, ...]
    files: tuple[str, ...]
    """Where they stand."""
    refused: Mapping[int, RefusedError] = field(default_factory=dict)
    """What speaks against rows, by their places from 0, before their values are looked at."""
    origins: tuple[str, ...] = ()
    """File and row of each row; empty where it is the row's place in the one file."""
    relative: bool = False
    """Boxes are in parts of the picture's width and height, not in pixels."""
    remarks: tuple[str, ...] = ()
    """What to say of it, one sentence each."""

    def origin(self, place: int) -> str:
        """File and row of the row at a place from 0."""
        return self.origins[place] if self.origins else f"{posixpath.basename(self.files[0])}: row {place + 1}"


def read_boxes(url: str, required: Sequence[str] = REQUIRED) -> BoxTable:
    """The rows of a table of boxes. Raises DataError if it can't be read, lacks a column, or has no row.

    `required`: the columns that it must have; those of a video name a frame in place of a path. Names count whatever
    their case is, and blanks around them don't.
    """
    read = read_rows(url, (*required, *OPTIONAL))
    missing = [name for name in required if name not in read.columns]
    if not read.rows:
        raise DataError(f"The table of boxes {url} has no row; it needs one for each person.")
    if missing:
        raise DataError(
            f"The table of boxes {url} lacks the columns {', '.join(missing)}; it has "
            f"{', '.join(read.names) or 'none'}. Needed: {', '.join(required)}; optional: {', '.join(OPTIONAL)}."
            f"{_advice(read.names)}"
        )
    ignored = tuple(name for name in read.names if name not in read.columns.values())
    return BoxTable(read.rows, frozenset(read.columns), ignored, (url,))


def _advice(names: Sequence[str]) -> str:
    """What to do about columns that say the same in another way."""
    known = {name.strip().lower() for name in names}
    if {"x1", "y1", "x2", "y2"} <= known or {"xmin", "ymin", "xmax", "ymax"} <= known:
        return " From two corners: x, y are the upper left one, w, h the lower right one less that."
    return ""


def parse_row(row: Mapping[str, Any], relative: bool = False) -> BoxRow:
    """A row's box and camera. Raises RefusedError for values that can't be used: a box without area, say.

    A `relative` box is in parts of the picture's width and height.
    """
    if row.get(SURPLUS):
        raise RefusedError("row not readable", f"{SURPLUS}: does a path with a comma lack its quotes?")
    values = [_number(row.get(name)) for name in "xywh"]
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
    value = _number(row.get("person"))
    if not math.isfinite(value) or value != int(value) or not 0 <= value < LARGEST:
        raise RefusedError("person not usable", f"person={row.get('person')}: a whole number from 0 is expected")
    return int(value)


def _optional(row: Mapping[str, Any], name: str) -> float | None:
    if _absent(row.get(name)):
        return None
    value = _number(row[name])
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise RefusedError("camera not usable", f"{name}={row[name]}: a number of pixels is expected, or nothing")
    return value


def _absent(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and value.strip().lower() in _ABSENT)


def _number(value: Any) -> float:
    """The number that a value is or spells, else NaN."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
