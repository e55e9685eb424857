"""One value per row, on disk or in memory: numbers or texts of one shape, read a few rows at a time."""

import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError

_IN_MEMORY = 2**20
_AT_ONCE = 10_000
_SHOWN = 60
_LONGEST_TEXT = 1024
_NOT_NUMBERS = (TypeError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Column:
    """Rows of one shape and type. Get one with `column_of`, `stored_column` or `Npz.column`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    values: NDArray[Any] | None = None
    """Where they are in memory."""
    path: Path | None = None
    start: int = 0
    fortran: bool = False
    unreadable: Mapping[int, str] = field(default_factory=dict)
    """Rows whose value is of another type or shape, and what was seen; their values here are NaN or empty."""
    shared: bool = False
    """One value was given, and holds for all rows."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def is_text(self) -> bool:
        """Texts; otherwise numbers."""
        return self.dtype.kind in "SU"

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """A copy of the rows from `start` to before `stop`."""
        if self.values is not None:
            return np.array(self.values[start:stop])
        assert self.path is not None
        # Mapped anew each time: pages that were looked at would count as this process's memory as long as the map does.
        mapped = np.memmap(self.path, self.dtype, "r", self.start, self.shape, "F" if self.fortran else "C")
        return np.array(mapped[start:stop])


def stored_column(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], start: int, fortran: bool) -> Column:
    """A column of values in a file, from byte `start` on."""
    if 0 in shape:  # nothing that could be mapped
        return Column(shape, dtype, np.empty(shape, dtype))
    return Column(shape, dtype, path=path, start=start, fortran=fortran)


def column_of(values: Any, count: int, where: str, work: Path) -> Column:
    """Values as a pickle or a list holds them, as a column of `count` rows; large ones go to a file in `work`.

    A number or text alone holds for all rows, and so does an array of length 1 where there are more rows (`shared`). Of
    a list (or an array of objects), rows that have another shape or type than most are noted in `unreadable`. Raises
    DataError that begins with `where` for anything else than numbers or texts, or another number of rows.
    """
    if isinstance(values, int):
        values = np.float64(_number(values))
    if isinstance(values, float | str | np.generic) or (isinstance(values, np.ndarray) and values.ndim == 0):
        values = np.asarray(values)[None][:count]
    if not isinstance(values, list | np.ndarray):
        raise DataError(f"{where}: a value for each of the {count} rows is expected, not {_shown(values)}.")
    shared = len(values) == 1 and count > 1
    if shared:
        values = values * count if isinstance(values, list) else np.broadcast_to(values, (count, *values.shape[1:]))
    if len(values) != count:
        raise DataError(f"{where}: has {len(values)} rows where the file has {count}; each person needs one.")
    if isinstance(values, np.memmap) and values.dtype.kind in "biufSU":
        fortran = values.flags.f_contiguous and not values.flags.c_contiguous
        return stored_column(Path(str(values.filename)), values.dtype, values.shape, int(values.offset), fortran)
    if isinstance(values, np.ndarray) and not values.dtype.hasobject:
        if values.dtype.kind not in "biufSU":
            raise DataError(f"{where}: numbers or texts are expected, not {values.dtype}.")
        return Column(values.shape, values.dtype, values, shared=shared)
    rows = values.tolist() if isinstance(values, np.ndarray) and values.ndim > 1 else list(values)
    texts = sum(isinstance(row, str | bytes) for row in rows)
    return replace(_texts(rows, work) if 2 * texts > len(rows) else _numbers(rows, where, work), shared=shared)


def _texts(rows: Sequence[Any], work: Path) -> Column:
    unreadable: dict[int, str] = {}

    def text(number: int, row: Any) -> str:
        decoded = row.decode("utf-8", "replace") if isinstance(row, bytes) else row
        # one very long text would make all rows as wide, and is no path
        if isinstance(decoded, str) and len(decoded) <= _LONGEST_TEXT:
            return decoded
        unreadable[number] = f"a text is expected, not {_shown(row)}"
        return ""

    texts = [text(number, row) for number, row in enumerate(rows)]
    dtype = np.dtype((np.str_, max(1, *map(len, texts))))
    parts = (np.array(texts[at : at + _AT_ONCE], dtype) for at in range(0, len(texts), _AT_ONCE))
    return _column(parts, (len(rows),), dtype, unreadable, work)


def _numbers(rows: Sequence[Any], where: str, work: Path) -> Column:
    shapes = Counter(array.shape for array in map(_array, rows[:_AT_ONCE]) if array is not None)
    if rows and not shapes:
        raise DataError(f"{where}: numbers are expected, not {_shown(rows[0])}.")
    shape = shapes.most_common(1)[0][0] if shapes else ()
    unreadable: dict[int, str] = {}

    def part(at: int) -> NDArray[np.float64]:
        numbers = np.full((min(_AT_ONCE, len(rows) - at), *shape), np.nan)
        for number, row in enumerate(rows[at : at + _AT_ONCE], start=at):
            array = _array(row)
            if array is not None and array.shape == shape:
                numbers[number - at] = array
            else:
                value = _shown(row) if array is None else shape_words(array.shape)
                unreadable[number] = f"{shape_words(shape)} expected, not {value}"
        return numbers

    parts = (part(at) for at in range(0, len(rows), _AT_ONCE))
    return _column(parts, (len(rows), *shape), np.dtype(np.float64), unreadable, work)


def _column(
    parts: Iterable[NDArray[Any]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    unreadable: Mapping[int, str],
    work: Path,
) -> Column:
    """A column of parts that follow each other: in memory if it is small, else in a file."""
    if math.prod(shape) * dtype.itemsize < _IN_MEMORY:
        values = np.concatenate([np.empty((0, *shape[1:]), dtype), *parts])
        return Column(shape, dtype, values, unreadable=unreadable)
    with tempfile.NamedTemporaryFile(dir=work, suffix=".bytes", delete=False) as file:
        for part in parts:
            file.write(part.tobytes())
    return Column(shape, dtype, path=Path(file.name), unreadable=unreadable)


def shape_words(shape: tuple[int, ...]) -> str:
    """A shape in words: "a number", "17 x 3 numbers"."""
    return " x ".join(map(str, shape)) + " numbers" if shape else "a number"


def _array(value: Any) -> NDArray[np.float64] | None:
    """A row as numbers; None if it is none."""
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufO":
        return None
    if value is None or isinstance(value, str | bytes | dict):
        return None
    try:
        return np.array(value, np.float64)
    except _NOT_NUMBERS:
        return None


def _number(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, int | float | str | bytes | None) else f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
