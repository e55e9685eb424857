"""Some rows of an npz on their way: values as numbers and texts, and why rows are refused."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.formats.json_rows import NOT_FINITE, UNREADABLE
from tasks.ingest.source.column import Column

_LARGEST: Final = 1e6
"""Pixels: no picture is wider."""
_SAMPLE, _BLOCKS = 100, 10

Values = NDArray[np.float64]


class Block:
    """Some rows of a file on their way. Of the reasons to refuse a row, the first is kept."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self.rows: list[dict[str, Any]] = [{} for _ in range(stop - start)]
        self.refusals: dict[int, tuple[str, str]] = {}

    def refuse(self, number: int, reason: str, detail: str) -> None:
        """Refuse the row `number` of the block, unless it is refused already."""
        self.refusals.setdefault(number, (reason, detail))

    def numbers(self, column: Column, where: str, reason: str = UNREADABLE) -> Values:
        """A column's numbers (n, count); rows that are not readable or not finite are refused."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = column.rows(self.start, self.stop).astype(np.float64).reshape(self.stop - self.start, -1)
            finite = np.isfinite(values.astype(np.float32))
        self._refuse_unreadable(column, where, reason)
        for number in np.flatnonzero(~finite.all(1)):
            place = int(np.flatnonzero(~finite[number])[0])
            self.refuse(int(number), NOT_FINITE, f"{where}: number {place} is {values[number, place]:g}")
        return values

    def texts(self, column: Column, where: str) -> list[str]:
        """A column's texts; rows whose text can't be written are refused."""
        values = column.rows(self.start, self.stop)
        texts = []
        for number in range(len(values)):
            try:
                text = values[number].item()
                text = text.decode() if isinstance(text, bytes) else text
                text.encode()
            except ValueError as error:  # half of a pair of surrogates, or beyond what Unicode has
                self.refuse(number, UNREADABLE, f"{where}: a text that is no Unicode ({type(error).__name__})")
                text = ""
            texts.append(text)
        self._refuse_unreadable(column, where, UNREADABLE)
        return texts

    def _refuse_unreadable(self, column: Column, where: str, reason: str) -> None:
        for row, detail in column.unreadable.items():
            if self.start <= row < self.stop:
                self.refuse(row - self.start, reason, f"{where}: {detail}")

    def put(self, name: str, values: Any) -> None:
        """A value for each row."""
        for row, value in zip(self.rows, values, strict=True):
            row[name] = value

    def fill(self, name: str, value: Any) -> None:
        """The same value for all rows."""
        self.put(name, [value] * len(self.rows))

    def finished(self) -> list[dict[str, Any]]:
        """The rows; of those that are refused, where they are and why."""
        for number, (reason, detail) in self.refusals.items():
            row = self.rows[number]
            place = {name: row[name] for name in ("row", "counts_as", "origin", "crop_rule", "crop_scale")}
            self.rows[number] = {**place, "path": row["path"] or None, "reason": reason, "detail": detail}
        return self.rows

    def positive(self, column: Column, where: str) -> Values:
        """Pixels above 0; those that are refused are 1."""
        values = self.numbers(column, where)
        with np.errstate(invalid="ignore"):
            good = (values > 0) & (values < _LARGEST)
        for number in np.flatnonzero(~good.all(1)):
            first = values[number][~good[number]][0]
            self.refuse(int(number), UNREADABLE, f"{where}: {first:g} is no number of pixels")
        return np.where(good, values, 1.0)


def sampled(column: Column) -> Values:
    """Rows from all over a column, as numbers (n, ...)."""
    starts = np.linspace(0, max(0, len(column) - _SAMPLE), _BLOCKS).astype(int)
    blocks = [column.rows(int(start), int(start) + _SAMPLE) for start in np.unique(starts)]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate(blocks).astype(np.float64)
