"""Rows of tables as exports take them: whole tables or batches, vectors as arrays, instances by their id."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from schemas.errors import DataError

Rows: TypeAlias = pa.Table | Iterable[pa.RecordBatch | pa.Table]
"""A table as `infra.tables.read` gives it, or an iterator of batches of one."""


def batches_of(rows: Rows, columns: Sequence[str], what: str, at_once: int = 1000) -> Iterator[pa.Table]:
    """The rows as tables of at most `at_once` rows with these columns. DataError where one is missing."""
    for part in [rows] if isinstance(rows, pa.Table) else rows:
        table = part if isinstance(part, pa.Table) else pa.Table.from_batches([part])
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            raise DataError(f"The {what} lack the columns {', '.join(missing)}, which this export needs.")
        table = table.select(list(columns))
        for start in range(0, len(table), at_once):
            yield table.slice(start, at_once)


class Lookup:
    """Columns of rows by a key, without what isn't asked for: only the keys are kept as Python objects."""

    def __init__(self, rows: Rows, key: str, columns: Sequence[str], what: str) -> None:
        self.what = what
        parts = list(batches_of(rows, [key, *columns], what, at_once=100_000))
        self.table = pa.concat_tables(parts) if parts else pa.table({key: pa.array([], pa.string())})
        keys = self.table.column(key).to_pylist()
        self.place = {name: row for row, name in enumerate(keys)}
        if len(self.place) < len(keys):
            raise DataError(f"The {what} have two rows for one {key}; give those of one ingest or stage.")

    def rows(self, keys: Sequence[str]) -> pa.Table:
        """A row for each key. DataError for a key that has none."""
        absent = next((name for name in keys if name not in self.place), None)
        if absent is not None:
            raise DataError(f"The {self.what} have no row for {absent}; give those that belong together.")
        return self.table.take(pa.array([self.place[name] for name in keys], pa.int64()))


def vectors(table: pa.Table, column: str, length: int) -> np.ndarray:
    """A vector column (lists of any kind) as float64 (rows, length). DataError for nulls and other lengths."""
    values: Any = table.column(column).combine_chunks()
    flat = values.flatten()
    if values.null_count or flat.null_count or len(flat) != len(values) * length:
        raise DataError(f"Column {column}: {length} numbers are needed in each row.")
    array: np.ndarray = flat.to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(values), length)
    return array


def key_of_image(image_id: str) -> str:
    """The picture's name within its split: what follows <dataset>/<split>/ in an image_id."""
    return image_id.split("/", 2)[-1]
