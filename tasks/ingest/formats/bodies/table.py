"""A table of bodies as files: Parquet, npz and json lines, one or a folder of them, as rows of plain values."""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError
from schemas.regular_files import open_regular
from tasks.ingest.formats.json_rows import UNREADABLE
from tasks.ingest.source import json_lines
from tasks.ingest.source.column import Column, column_of
from tasks.ingest.source.files import local_file, open_url
from tasks.ingest.source.folder import RefusedError, printable
from tasks.ingest.source.npz_columns import Npz
from tasks.ingest.source.parquet_files import parquet_batches

_ENDINGS: Final = (".parquet", ".npz", *json_lines.ENDINGS, *(f"{ending}.gz" for ending in json_lines.ENDINGS))
_ROWS_AT_ONCE: Final = 500
Row: TypeAlias = Mapping[str, Any] | RefusedError
"""What a row has by the names of its columns, or why it can't be read. A value may be a refusal, too."""


@dataclass(frozen=True)
class BodyTable:
    """One file of a table."""

    file: Path
    url: str
    work: Path
    columns: tuple[str, ...]
    """The names of its columns; of json lines, those that its first rows have."""
    count: int | None
    """Its rows; None where only reading would count them."""
    kind: str

    @property
    def name(self) -> str:
        """What origins of rows call it."""
        return printable(posixpath.basename(self.url))

    def rows(self, wanted: frozenset[str]) -> Iterator[tuple[str, Row]]:
        """Place and values of each row, of the `wanted` columns alone. DataError for a file that is damaged."""
        columns = [name for name in self.columns if name in wanted]
        match self.kind:
            case "a Parquet table":
                rows: Iterator[Row] = _of_parquet(self, columns)
            case "an npz":
                rows = _of_npz(self, columns)
            case _:
                lines = json_lines.lines(self.file, self.url)
                return ((f"{self.name}: line {number + 1}", row) for number, row in lines)
        return ((f"{self.name}: row {number + 1}", row) for number, row in enumerate(rows))


def files_of(url: str) -> list[str]:
    """The files of a table: the one at `url`, or those in the folder there, by name. DataError for one without any."""
    fs, path = open_url(url)
    if not fs.isdir(path):
        return [url]
    names = sorted(posixpath.basename(str(one["name"]).rstrip("/")) for one in fs.ls(path, detail=True))
    files = [f"{url.rstrip('/')}/{name}" for name in names if name.lower().endswith(_ENDINGS)]
    if not files:
        raise DataError(f"The folder {url} has no table of bodies: files that end in {', '.join(_ENDINGS)}.")
    return files


def open_table(url: str, work: Path) -> BodyTable:
    """A file of a table, told by its beginning. DataError where it isn't one of the three kinds."""
    file = local_file(url, work, "table of bodies")
    with open_regular(file) as opened:
        begins = opened.read(4)
    if begins == b"PAR1":
        try:
            with open_regular(file) as opened:
                metadata = pq.read_metadata(opened)
            columns = tuple(map(str, metadata.schema.to_arrow_schema().names))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{url} is no readable Parquet file: {error}") from error
        return BodyTable(file, url, work, columns, metadata.num_rows, "a Parquet table")
    if begins[:2] == b"PK":
        npz = Npz(file, work / "npz", url)
        return BodyTable(file, url, work, npz.names, _length(npz), "an npz")
    return BodyTable(file, url, work, json_lines.first_keys(file, url), None, "json lines")


def _of_parquet(table: BodyTable, columns: list[str]) -> Iterator[Row]:
    try:
        with open_regular(table.file) as opened:
            for part in parquet_batches(opened, table.url, columns):
                for start in range(0, len(part), _ROWS_AT_ONCE):
                    yield from part.slice(start, _ROWS_AT_ONCE).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{table.url} is no readable Parquet file: {error}") from error


def _of_npz(table: BodyTable, names: list[str]) -> Iterator[Row]:
    npz = Npz(table.file, table.work / "npz", table.url)
    count = table.count or 0
    columns = {name: _column(npz, name, count) for name in names}
    for start in range(0, count, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, count)
        values = {name: column.rows(start, stop).tolist() for name, column in columns.items()}
        for place in range(stop - start):
            row = {name: _plain(value[place]) for name, value in values.items()}
            for name, column in columns.items():
                if start + place in column.unreadable:
                    row[name] = RefusedError(UNREADABLE, f"{name}: {column.unreadable[start + place]}")
            yield row


def _column(npz: Npz, name: str, count: int) -> Column:
    """A member as a column of `count` rows; a single value holds for all."""
    header = npz.header(name)
    if header.dtype.hasobject or not header.shape:
        return column_of(npz.value(name), count, f"{npz.name}, {name}", npz.work)
    column = npz.column(name)
    if len(column) != count:
        raise DataError(f"{npz.name}: {name} has {len(column)} rows, but body_pose {count}. They must agree.")
    return column


def _length(npz: Npz) -> int | None:
    """The rows of body_pose, of which each body has its own; None where there is no such member."""
    shape = npz.header("body_pose").shape if "body_pose" in npz else ()
    return shape[0] if shape else None


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
