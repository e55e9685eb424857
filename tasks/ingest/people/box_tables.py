"""Tables of boxes as files: CSV as spreadsheets of any country write it, Parquet, JSON; of all only columns of ours.

However large a file claims to be, no more is read than a table of people can have.
"""

import csv
import io
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from schemas.errors import DataError
from schemas.regular_files import open_regular
from tasks.ingest.source.files import local_file, read_url
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.parquet_files import MOST_ROWS, parquet_columns, parquet_table
from tasks.ingest.source.text_files import as_utf8, without_gz

SURPLUS: Final = "more values than columns"
"""Key of a row of CSV under which stand the values that have no column."""
_ENDINGS: Final = ("csv", "parquet", "json")
_SEPARATORS: Final = (",", ";", "\t")
_LONGEST_LINE: Final = 1 << 16
_MOST_NAMES: Final = 1000
_COMMA_NUMBER = re.compile(r"\s*[+-]?\d+,\d+\s*")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """Rows of a table by our names of its columns."""

    rows: tuple[Row, ...]
    columns: Mapping[str, str]
    """Those that mean something to us: our name, and the table's."""
    names: tuple[str, ...]
    """The table's names of all its columns."""


def read_rows(url: str, meant: Sequence[str]) -> Rows:
    """The rows of a table of boxes, with the columns that are `meant`, as far as it has them.

    Raises DataError for a file that is none of the three, can't be read or has more than MOST_ROWS.
    """
    ending = without_gz(url).rsplit(".", 1)[-1].lower()
    if ending not in _ENDINGS:
        raise DataError(f"The table of boxes {url} ends in none of .csv, .parquet, .json.")
    what = f"The table of boxes {url}"
    if ending == "parquet":
        return _of_parquet(read_url(url, "table of boxes"), what, meant)
    with tempfile.TemporaryDirectory(prefix="adhmr-boxes-") as work:
        path = local_file(url, Path(work), "table of boxes")
        try:
            return _of_csv(path, what, meant) if ending == "csv" else _of_json(path, what, meant)
        except _TooLongError as error:
            raise DataError(f"{what} has more than the {MOST_ROWS} rows that are read. Split it.") from error


def csv_columns(line: str) -> tuple[list[str], str]:
    """The names in the first line of a CSV, and the sign that separates them."""
    found = {sign: next(csv.reader([line], delimiter=sign, skipinitialspace=True), []) for sign in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda sign: len(found[sign]))
    return [name.strip() for name in found[separator]], separator


def columns_of(names: Sequence[str], meant: Sequence[str]) -> dict[str, str]:
    """Which of the names is which of those that are meant: the same, else the only one that differs in case and blanks.

    Raises ValueError where several do.
    """
    found = {}
    for wanted in meant:
        alike = [name for name in names if name == wanted] or [name for name in names if name.strip().lower() == wanted]
        if len(alike) > 1:
            raise ValueError(f"it has several columns {wanted} ({', '.join(map(repr, alike))})")
        if alike:
            found[wanted] = alike[0]
    return found


def _of_csv(path: Path, what: str, meant: Sequence[str]) -> Rows:
    try:
        with io.TextIOWrapper(as_utf8(open_regular(path), str(path)), "utf-8", newline="") as text:
            lines = iter(lambda: text.readline(_LONGEST_LINE), "")
            names, separator = csv_columns(next(lines, ""))
            columns = columns_of(names, meant)
            found = csv.DictReader(lines, names, restkey=SURPLUS, delimiter=separator, skipinitialspace=True)
            # where commas don't separate values, they stand in numbers
            rows = _limited(found if separator == "," else map(_pointed, found))
            return Rows(tuple(_ours(row, columns) for row in rows), columns, tuple(names))
    except UnicodeDecodeError as error:
        raise DataError(f"{what} is no readable CSV: {error}. Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{what} can't be read: {error}") from error
    except (csv.Error, ValueError) as error:
        raise DataError(f"{what} is no readable CSV: {error}") from error


def _of_json(path: Path, what: str, meant: Sequence[str]) -> Rows:
    try:
        if begins_with(path) != "[":
            raise ValueError('a list of rows is expected: [{"path": "a.jpg", "x": 0, "y": 0, "w": 10, "h": 10}, ...]')
        names: dict[str, None] = {}
        kept: list[Row] = []
        for row in _limited(items(path, "item")):
            known = row if isinstance(row, dict) else {}
            names.update(dict.fromkeys(islice(known, _MOST_NAMES)) if len(names) < _MOST_NAMES else {})
            # a list is no value of ours, and may be as long as the file
            alike = (name for name in known if name.strip().lower() in meant)
            kept.append({name: None if isinstance(known[name], list | dict) else known[name] for name in alike})
        columns = columns_of(list(names), meant)
        return Rows(tuple(_ours(row, columns) for row in kept), columns, tuple(names))
    except DataError as error:
        told = str(error).removeprefix(f"{path} ").removeprefix("is no readable JSON: ")
        raise DataError(f"{what} is no readable JSON: {told}") from error
    except ValueError as error:
        raise DataError(f"{what} is no readable JSON: {error}") from error


def _of_parquet(data: bytes, what: str, meant: Sequence[str]) -> Rows:
    try:
        names = parquet_columns(data)
        columns = columns_of(names, meant)
        table = parquet_table(data, what, list(columns.values()))
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{what} is no readable PARQUET: {error}") from error
    return Rows(tuple(_ours(row, columns) for row in table.to_pylist()), columns, tuple(names))


class _TooLongError(Exception):
    """A table has more rows than are read."""


def _limited(rows: Iterable[Any]) -> Iterator[Any]:
    for number, row in enumerate(rows):
        if number == MOST_ROWS:
            raise _TooLongError
        yield row


def _ours(row: Row, columns: Mapping[str, str]) -> Row:
    """A row by our names; what it has beyond its columns stays."""
    made = {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}
    return made | {SURPLUS: row[SURPLUS]} if row.get(SURPLUS) else made


def _pointed(row: Row) -> Row:
    """A row whose numbers have a point in the place of a comma."""
    return {
        name: value.replace(",", ".") if isinstance(value, str) and _COMMA_NUMBER.fullmatch(value) else value
        for name, value in row.items()
    }
