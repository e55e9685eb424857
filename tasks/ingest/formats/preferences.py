"""Published preference data in the units of our tables: the columns of its readers' rows, and checks on their values.

Published files store joints as u, v in pixels of the 256 px test crop and d in mm behind the root, and twists as the
network put them out, of any length. The rows hold normalised uvd and unit twists. They don't name instances:
`img_path`, `img_idx` and `trans` say which picture, which row of its annotation file, and which crop is meant.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from models.published_crops import CROP_PX, normalised_joints
from schemas.errors import DataError
from tasks.ingest.formats.json_rows import NOT_FINITE, UNREADABLE, refusal_in
from tasks.ingest.formats.plain_values import shown
from tasks.ingest.people.annotations import ANNOTATIONS, column
from tasks.ingest.source.folder import RefusedError

JOINTS_SHAPE: Final = (29, 3)
TWIST_SHAPE: Final = (23, 2)
MAPS_DISAGREE: Final = "crop maps disagree"
NO_TWIST: Final = "twist of length zero"

_LARGEST = 1e6
"""Crop pixels or mm: no joint is further away."""
_HUGE = 1e300
_MAP_TOLERANCE_PX = 0.1
_LEAST_TWIST = 1e-6
_LEAST_EXTENT_PX, _LEAST_DEPTH_MM = 4.0, 5.0
"""Whatever the pose, a person in a test crop is larger: smaller joints are in another unit."""

PLACE: Final = (
    column("row", pa.int64(), "place in the source, from 0 on", null=False),
    column("origin", pa.string(), "file and row or key, as the person who has to correct it looks it up", null=False),
    column("img_path", pa.string(), "the picture's path as the annotations give it"),
    column("img_idx", pa.int64(), "row of the annotation file (before any thinning out) that is meant"),
    column("trans", pa.list_(pa.float64(), 6), "2x3 map, row by row, from picture to 256 px crop pixels", "crop px"),
)
"""The columns that say what a row is about."""

JUDGEMENT: Final = (ANNOTATIONS.field("reason"), ANNOTATIONS.field("detail"))


def numbers(value: Any, name: str, shape: tuple[int | None, ...], limit: float = _LARGEST) -> NDArray[np.float64]:
    """The value as an array of that shape (None: any count above 0). Raises RefusedError for everything else."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        raise RefusedError(UNREADABLE, f"{name} is no array of numbers, or its rows differ in length") from None
    expected = "x".join("M" if side is None else str(side) for side in shape)
    if array.dtype.kind == "O":
        array = _with_nan(array)
    if array.dtype.kind not in "fiu":
        raise RefusedError(UNREADABLE, f"{name} holds other things than numbers; {expected} numbers are expected")
    fitting = array.ndim == len(shape) and all(
        side > 0 if wanted is None else side == wanted for side, wanted in zip(array.shape, shape, strict=True)
    )
    if not fitting:
        actual = "x".join(map(str, array.shape)) or "one number"
        joints = shape[-2:] == JOINTS_SHAPE and array.ndim == len(shape) and array.shape[-1] == 3
        raise RefusedError("key-point count" if joints else UNREADABLE, f"{name} is {actual}, expected {expected}")
    values = array.astype(np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise RefusedError(NOT_FINITE, f"{name} has {bad} values that are NaN or infinite")
    if np.abs(values).max(initial=0) > limit:
        raise RefusedError("value out of range", f"{name} has {values.flat[np.abs(values).argmax()]:g}")
    return values


def _with_nan(array: NDArray[Any]) -> NDArray[Any]:
    """Numbers among which are None (NaN in JSON) or huge integers as floats; anything else as it is."""
    flat = array.ravel().tolist()
    if not all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in flat):
        return array
    floats = [np.nan if value is None else np.inf if abs(value) > _HUGE else float(value) for value in flat]
    return np.array(floats).reshape(array.shape)


def needed(row: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises RefusedError where one of these keys is missing."""
    missing = [name for name in names if row.get(name) is None]
    if missing:
        present = shown(", ".join(map(str, row)) or "none")
        raise RefusedError("keys missing", f"{', '.join(missing)}; there are {present}")


def joints_uvd(value: Any, name: str, shape: tuple[int | None, ...] = JOINTS_SHAPE) -> NDArray[np.float32]:
    """Joints (..., 29, 3) in crop pixels and mm -> normalised uvd, d in metres."""
    pixels = torch.from_numpy(numbers(value, name, shape))
    return np.asarray(normalised_joints(pixels).numpy(), np.float32)


def unit_twist(value: Any, name: str, shape: tuple[int | None, ...] = TWIST_SHAPE) -> NDArray[np.float32]:
    """Twists (..., 23, 2) of any length -> (cos, sin) of length 1. Raises RefusedError for one of length 0."""
    twist = numbers(value, name, shape)
    length = np.linalg.norm(twist, axis=-1, keepdims=True)
    if length.min() < _LEAST_TWIST:
        which = int(np.argmin(length.reshape(-1, TWIST_SHAPE[0]).min(0)))
        raise RefusedError(NO_TWIST, f"{name}: cos and sin of twist {which} are both 0, which is no angle")
    return np.asarray(twist / length, np.float32)


def crop_map(trans: Any, trans_inv: Any = None) -> NDArray[np.float64]:
    """The map (2, 3) from picture to crop. Raises RefusedError unless it can be inverted and `trans_inv` is its
    inverse (if given)."""
    affine = numbers(trans, "trans", (2, 3), limit=1e9)
    if abs(np.linalg.det(affine[:, :2])) < 1e-12:
        raise RefusedError(MAPS_DISAGREE, "trans can't be inverted: it maps the picture to a line or a point")
    if trans_inv is not None:
        back = numbers(trans_inv, "trans_inv", (2, 3), limit=1e9)
        corners = np.array([[0.0, 0.0], [CROP_PX, 0.0], [0.0, CROP_PX]])
        in_picture = corners @ back[:, :2].T + back[:, 2]
        miss = np.abs(in_picture @ affine[:, :2].T + affine[:, 2] - corners).max()
        if not miss < _MAP_TOLERANCE_PX:
            detail = f"trans and trans_inv are not inverse: {miss:.3g} px off at a crop corner"
            raise RefusedError(MAPS_DISAGREE, detail)
    return affine


def read_row(number: int, origin: str, columns: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """A row of columns that are read one after the other: a refused row has those before what refused it."""
    row: dict[str, Any] = {"row": number, "origin": origin, "reason": None}
    with refusal_in(row):
        for name, value in columns:
            row[name] = value
    return row


def with_checked_units(
    rows: Iterator[dict[str, Any]], at_first: int, columns: Sequence[str], where: str
) -> Iterator[dict[str, Any]]:
    """The rows, after a look at the units of the first ones (`check_units`)."""
    first = list(islice(rows, at_first))
    check_units(first, columns, where)
    yield from chain(first, rows)


def check_units(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], where: str) -> None:
    """DataError where the joints of most usable rows, normalised uvd in these columns, can't be crop pixels and mm."""
    good = [row for row in rows if row["reason"] is None]
    if not good:
        return
    joints = [np.ptp(row[column].reshape(-1, *JOINTS_SHAPE)[0], axis=0) for row in good for column in columns]
    extent = np.median(joints, axis=0)
    in_plane, depth = max(extent[:2]) / 2 * CROP_PX, extent[2] * 1000
    if in_plane < _LEAST_EXTENT_PX:
        raise DataError(
            f"{where}: u and v are not in pixels of the {CROP_PX} px crop: the median person is {in_plane:.3g} across. "
            f"Multiply normalised values out first: pixel = (u / 2 + 0.5) * {CROP_PX}."
        )
    if depth < _LEAST_DEPTH_MM:
        raise DataError(
            f"{where}: depths are not in mm: the median person is {depth:.3g} deep. Are they in metres? Then multiply "
            "the third number of each joint by 1000."
        )
