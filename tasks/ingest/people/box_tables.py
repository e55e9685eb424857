"""Tables of boxes as files: CSV as spreadsheets of any country write it, Parquet, JSON; of all only columns of ours.

However large a file claims to be, no more is read than a table of people can have.
"""

import csv
import io
import posixpath
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from schemas.errors import DataError
from schemas.regular_files import open_regular
from tasks.ingest.source.files import local_file, read_url
from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.parquet_files import MOST_ROWS, parquet_columns, parquet_table
from tasks.ingest.source.text_files import as_utf8, without_gz

SURPLUS: Final = "more values than columns"
"""Key of the values of a row of CSV that have no column."""
_SEPARATORS: Final = (",", ";", "\t")
_LONGEST_LINE: Final = 1 << 16
_MOST_NAMES: Final = 1000
_COMMA_NUMBER = re.compile(r"\s*[+-]?\d+,\d+\s*")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class BoxTable:
    """Rows as a table has them, by our names of its columns."""

    rows: tuple[Row, ...]
    columns: Mapping[str, str]
    """Those that mean something to us: our name, and the table's."""
    names: tuple[str, ...]
    """The table's names of all its columns."""
    files: tuple[str, ...]
    """Where the rows stand."""
    refused: Mapping[int, RefusedError] = field(default_factory=dict)
    """What speaks against rows, by their places from 0, before their values are looked at."""
    origins: tuple[str, ...] = ()
    """File and row of each row; empty where it is the row's place in the one file."""
    relative: bool = False
    """Boxes are in parts of the picture's width and height, not in pixels."""
    remarks: tuple[str, ...] = ()
    """What to say of it, one sentence each."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """The columns that mean nothing to us."""
        return tuple(name for name in self.names if name not in self.columns.values())

    def origin(self, place: int) -> str:
        """File and row of the row at a place from 0."""
        return self.origins[place] if self.origins else f"{posixpath.basename(self.files[0])}: row {place + 1}"


def read_rows(url: str, meant: Sequence[str]) -> BoxTable:
    """The rows of a table of boxes, with the columns that are `meant`, as far as it has them.

    Raises DataError for a file that is none of the three, can't be read or has more than MOST_ROWS.
    """
    what = f"The table of boxes {url}"
    ending = without_gz(url).rsplit(".", 1)[-1].lower()
    if ending not in _READERS:
        raise DataError(f"{what} ends in none of .csv, .parquet, .json.")
    try:
        with tempfile.TemporaryDirectory(prefix="adhmr-boxes-") as work:
            return _READERS[ending](url, Path(work), what, meant)
    except UnicodeDecodeError as error:
        raise DataError(f"{what} is no readable {ending.upper()}: {error}. Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{what} can't be read: {error}") from error
    except (csv.Error, pa.ArrowException, ValueError) as error:
        raise DataError(f"{what} is no readable {ending.upper()}: {error}") from error


def csv_columns(line: str) -> tuple[list[str], str]:
    """The names in the first line of a CSV, and the sign that separates them."""
    cut = {sign: next(csv.reader([line], delimiter=sign, skipinitialspace=True), []) for sign in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda sign: len(cut[sign]))
    return [name.strip() for name in cut[separator]], separator


def columns_of(names: Collection[str], meant: Sequence[str]) -> dict[str, str]:
    """Which of the names is which of those that are meant: the same, else the only one that differs in case and blanks.

    Raises ValueError where several do.
    """
    columns = {}
    for name in meant:
        alike = [one for one in names if one == name] or [one for one in names if one.strip().lower() == name]
        if len(alike) > 1:
            raise ValueError(f"it has several columns {name} ({', '.join(map(repr, alike))})")
        if alike:
            columns[name] = alike[0]
    return columns


def _table(url: str, rows: Iterable[Row], names: Collection[str], meant: Sequence[str]) -> BoxTable:
    """Rows by our names; what they have beyond their columns stays."""
    columns = columns_of(names, meant)
    sources = {**columns, SURPLUS: SURPLUS}
    ours = ({name: row[source] for name, source in sources.items() if source in row} for row in rows)
    return BoxTable(tuple(ours), columns, tuple(names), (url,))


def _of_csv(url: str, work: Path, what: str, meant: Sequence[str]) -> BoxTable:
    path = local_file(url, work, "table of boxes")
    with io.TextIOWrapper(as_utf8(open_regular(path), str(path)), "utf-8", newline="") as text:
        lines = iter(lambda: text.readline(_LONGEST_LINE), "")
        names, separator = csv_columns(next(lines, ""))
        rows = csv.DictReader(lines, names, restkey=SURPLUS, delimiter=separator, skipinitialspace=True)
        # where commas don't separate values, they are parts of numbers
        return _table(url, _limited(rows if separator == "," else map(_pointed, rows), what), names, meant)


def _of_json(url: str, work: Path, what: str, meant: Sequence[str]) -> BoxTable:
    names: dict[str, None] = {}
    rows: list[Row] = []
    for row in _limited(_json_rows(local_file(url, work, "table of boxes")), what):
        names.update(dict.fromkeys(islice(row, _MOST_NAMES)) if len(names) < _MOST_NAMES else {})
        # a list is no value of ours, and may be as long as the file
        ours = {name: value for name, value in row.items() if name.strip().lower() in meant}
        rows.append({name: None if isinstance(value, list | dict) else value for name, value in ours.items()})
    return _table(url, rows, names, meant)


def _json_rows(path: Path) -> Iterator[Row]:
    """The rows of a list. ValueError where it is none."""
    try:
        if begins_with(path) != "[":
            raise ValueError('a list of rows is expected: [{"path": "a.jpg", "x": 0, "y": 0, "w": 10, "h": 10}, ...]')
        for row in items(path, "item"):
            yield row if isinstance(row, dict) else {}
    except DataError as error:
        raise ValueError(str(error).removeprefix(f"{path} ").removeprefix("is no readable JSON: ")) from error


def _of_parquet(url: str, _: Path, what: str, meant: Sequence[str]) -> BoxTable:
    data = read_url(url, "table of boxes")
    names = parquet_columns(data)
    rows = parquet_table(data, what, list(columns_of(names, meant).values())).to_pylist()
    return _table(url, rows, names, meant)


_READERS: Final = {"csv": _of_csv, "json": _of_json, "parquet": _of_parquet}


def _limited(rows: Iterable[Row], what: str) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if number == MOST_ROWS:
            raise DataError(f"{what} has more than the {MOST_ROWS} rows that are read. Split it.")
        yield row


def _pointed(row: Row) -> Row:
    """A row whose numbers have a point in the place of a comma."""
    return {
        name: value.replace(",", ".") if isinstance(value, str) and _COMMA_NUMBER.fullmatch(value) else value
        for name, value in row.items()
    }
