"""From the values that a JSON file has for a person to those of our rows: each checked, and a row refused where one
is not what it should be. Shared by the formats that are JSON.
"""

import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.ingest.people.annotations import ANNOTATIONS, ROWS_AT_ONCE
from tasks.ingest.people.boxes import LARGEST
from tasks.ingest.source.folder import RefusedError, printable

MISSING: Final = "key missing"
UNREADABLE: Final = "row not readable"
NOT_FINITE: Final = "not finite"
POINT_COUNT: Final = "key-point count"
UNITS: Final = {1.0: "metres", 0.001: "millimetres"}
"""Names of the units, by their factor to metres."""
_NUMBERS_AT_ONCE: Final = 4_000_000
T = TypeVar("T")
_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxlist, _SHOWN.maxdict, _SHOWN.maxstring, _SHOWN.maxlong = 2, 4, 4, 60, 30
_GENDERS: Final = {"n": "neutral", "f": "female", "m": "male"}


def shown(value: Any) -> str:
    """A value for a message, whatever it is: shortened and printable."""
    return printable(_SHOWN.repr(value))


def entry(row: Mapping[str, Any], key: str) -> Any:
    """The value of a key. Raises RefusedError where it is missing or null."""
    value = row.get(key)
    if value is None:
        raise RefusedError(MISSING, f"there is no {key}")
    return value


def table(value: Any, what: str) -> Mapping[str, Any]:
    """A value that must be an object of JSON."""
    if not isinstance(value, dict):
        raise RefusedError(UNREADABLE, f"{what} is {shown(value)}, an object with keys is expected")
    return value


def numbers(value: Any, what: str, count: int, at_least: bool = False, whole: bool = False) -> NDArray[np.float64]:
    """The `count` finite numbers of a list, however nested, as (count,); `at_least`: what is beyond them is dropped,
    unless the `whole` list is wanted.

    Raises RefusedError for anything else, null and numbers beyond float32 included.
    """
    array = _array(value, what)
    if array.size != count and not (at_least and array.size > count):
        raise RefusedError(UNREADABLE, f"{what} has {array.size} numbers, {count} are expected")
    return _finite(array.reshape(-1)[: None if whole else count], what)


def beyond(value: Any, count: int) -> NDArray[np.float64] | None:
    """What a list of numbers has beyond the first `count`; None for a shorter one, and for what is no such list."""
    try:
        flat = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        return None
    return flat[count:] if len(flat) > count else None


def cut_words(what: str, cut: Sequence[NDArray[np.float64]]) -> str:
    """What to say of coefficients beyond the first ten, which no table takes: those of the rows looked at that have
    any; nothing where none has."""
    if not cut:
        return ""
    most = max(map(len, cut))
    largest = max(float(np.nanmax(np.abs(rest))) for rest in cut)
    lost = f"up to {largest:.3g}: bodies are not quite the file's" if largest else "all 0, so nothing is lost"
    return f"{len(cut):,} of the first {what} have up to {10 + most} numbers; 10 are taken and the rest is CUT, {lost}."


def points(value: Any, what: str, counts: Sequence[int], widths: Sequence[int]) -> NDArray[np.float64]:
    """Points (N, width) of one of the counts and widths. Raises RefusedError as `numbers`, and for other counts."""
    array = _array(value, what)
    for width in widths:
        if array.size in [count * width for count in counts] and (array.ndim == 1 or array.shape[-1] == width):
            return _finite(array.reshape(-1, width), what)
    expected = " or ".join(map(str, counts))
    raise RefusedError(POINT_COUNT, f"{what} has the shape {array.shape}; {expected} points are expected")


def text(value: Any, what: str) -> str:
    """A text that can be stored."""
    if not isinstance(value, str) or not value.strip():
        raise RefusedError(UNREADABLE, f"{what} is {shown(value)}, a text is expected")
    if any(0xD800 <= ord(sign) <= 0xDFFF for sign in value):
        raise RefusedError(UNREADABLE, f"{what} is {shown(value)}, which is no Unicode text")
    return value


def whole(value: Any, what: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value != int(value):
        raise RefusedError(UNREADABLE, f"{what} is {shown(value)}, a whole number from {low} to {high} is expected")
    return int(value)


def sides(row: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """`width` and `height` in pixels, None for one that the row doesn't have. RefusedError for no number of pixels."""
    values = ((key, row.get(key)) for key in ("width", "height"))
    width, height = (None if value is None else whole(value, key, 1, int(LARGEST)) for key, value in values)
    return width, height


def box(value: Any, corners: bool = False, what: str = "bbox") -> list[float]:
    """x, y, w, h of a box that is written so, or (`corners`) as x0, y0, x1, y1. RefusedError for no usable box."""
    x, y, w, h = numbers(value, what, 4).tolist()
    if corners:
        w, h = w - x, h - y
    if w < 1 or h < 1:
        raise RefusedError("box without area", f"{what} is {shown(value)}: width and height must be at least one pixel")
    if max(abs(x), abs(y), w, h) > LARGEST:
        raise RefusedError("box far too large", f"{what} is {shown(value)}: no picture has {LARGEST:g} pixels across")
    return [x, y, w, h]


def camera(focal: Any, centre: Any) -> dict[str, float]:
    """fx, fy, cx, cy from two pairs of numbers. Raises RefusedError for a camera that can't be."""
    fx, fy = numbers(focal, "the focal length", 2).tolist()
    cx, cy = numbers(centre, "the principal point", 2).tolist()
    if min(fx, fy) <= 0 or max(fx, fy, abs(cx), abs(cy)) > LARGEST:
        numbers_read = f"focal lengths {fx:g}, {fy:g} and principal point {cx:g}, {cy:g}"
        raise RefusedError("camera not usable", f"{numbers_read}: positive focal lengths in pixels are expected")
    return {"fx": fx, "fy": fy, "cx": cx, "cy": cy}


def gender(value: Any) -> str:
    """neutral, female or male; neutral where nothing is said."""
    name = "neutral" if value is None else value.strip().lower() if isinstance(value, str) else ""
    name = _GENDERS.get(name, name)
    if name not in _GENDERS.values():
        raise RefusedError(UNREADABLE, f"gender is {shown(value)}, one of neutral, female, male is expected")
    return name


def vector(values: NDArray[Any]) -> NDArray[np.float32]:
    """Values as a vector column holds them."""
    return np.ascontiguousarray(values, np.float32).reshape(-1)


def placed(values: NDArray[np.float64], slots: Mapping[int, int], count: int) -> NDArray[np.float32]:
    """Points (N, width) moved to their slots {place here: slot there} among `count` points, as a vector; others NaN."""
    there = np.full((count, values.shape[1]), np.nan)
    there[list(slots.values())] = values[list(slots)]
    return vector(there)


def new_row(number: int, origin: str, crop_rule: str, crop_scale: float | None = None) -> dict[str, Any]:
    """A row of ANNOTATIONS that has its place and its rule for crops; it counts as itself."""
    return {"row": number, "counts_as": number, "origin": origin, "crop_rule": crop_rule, "crop_scale": crop_scale}


@contextmanager
def refusal_in(row: dict[str, Any]) -> Iterator[None]:
    """What refuses the row meanwhile becomes its reason and detail; the row keeps what it has till then."""
    try:
        yield
    except RefusedError as refusal:
        row |= {"reason": refusal.reason, "detail": refusal.detail}


def or_refusal(read: Callable[..., T], *arguments: Any) -> T | RefusedError:
    """What `read` makes of its arguments, or why it refuses them."""
    try:
        return read(*arguments)
    except RefusedError as refusal:
        return refusal


def unless_refused(otherwise: T, read: Callable[..., T], *arguments: Any) -> T:
    """What `read` makes of its arguments; `otherwise` where it refuses them."""
    value = or_refusal(read, *arguments)
    return otherwise if isinstance(value, RefusedError) else value


def in_batches(
    rows: Iterator[dict[str, Any]], schema: pa.Schema = ANNOTATIONS, at_once: int = ROWS_AT_ONCE
) -> Iterator[pa.RecordBatch]:
    """Rows in batches of at most `at_once`; of fewer, where their vectors have millions of numbers."""
    waiting: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += sum(value.size for value in row.values() if isinstance(value, np.ndarray))
        if len(waiting) == at_once or size >= _NUMBERS_AT_ONCE:
            yield as_batch(waiting, schema)
            waiting, size = [], 0
    if waiting:
        yield as_batch(waiting, schema)


def as_batch(rows: Sequence[Mapping[str, Any]], schema: pa.Schema = ANNOTATIONS) -> pa.RecordBatch:
    """Rows as a batch; what a row leaves out is null. Vectors may be arrays of any shape with the right count."""
    columns = []
    for column in schema:
        values = [row.get(column.name) for row in rows]
        flat = [value.reshape(-1) if isinstance(value, np.ndarray) else value for value in values]
        columns.append(pa.array(flat, column.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _array(value: Any, what: str) -> NDArray[np.float64]:
    """Numbers, also spelled ones, as an array; null as NaN."""
    if isinstance(value, list):
        try:
            return np.array(value, np.float64)
        except OverflowError:  # an integer that is larger than any double
            return np.full(np.array(value, object).shape, np.inf)
        except (ValueError, TypeError):
            pass
    raise RefusedError(UNREADABLE, f"{what} is {shown(value)}, numbers are expected")


def _finite(values: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        if not np.isfinite(values.astype(np.float32)).all():
            raise RefusedError(NOT_FINITE, f"{what} holds numbers that are missing, infinite or not a number")
    return values
