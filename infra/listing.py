"""Lists of large tables for people who look through them: narrow columns of finished stages, in a DuckDB of its own.

What a finished stage wrote never changes, so its rows are taken over once, when a list first asks for that stage;
sorting and filtering a million of them then takes a fraction of a second. They are kept in memory, which takes half of
the time that a file of DuckDB's does, as nothing is compressed; beyond a limit they go to a private folder, the
process's alone. Unlike `read` and `query`, lists do not compare data files with their digests: that would read all of
them, pictures and poses too.
"""

# as text: DuckDB complains at the end of a process of types that an annotation holds
from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import duckdb
import pyarrow as pa

from infra.data_files import DataFile
from infra.spreads import Spreads, ingests_of
from infra.store import Store
from infra.tables import live_files
from infra.views import fenced, from_alike, from_files, from_nothing, quoted
from schemas.errors import StoreError
from schemas.tables import contract

MEMORY_MB: Final = 128
"""What lists hold in memory, if nothing else is said: a million people with four pairs each get along with it."""
PEOPLE: Final = "people"
REVIEWED: Final = "reviewed"
_DERIVED: Final = 8
"""Tables that are derived from lists and kept."""
_NO_ROOM: Final = (duckdb.OutOfMemoryException, duckdb.IOException)
"""What DuckDB raises where neither memory nor the folder beside it has room for a table."""

Given = TypeVar("Given")


class _List(NamedTuple):
    """How a list is made, stage by stage, of a table of the store."""

    table: str
    columns: tuple[str, ...]
    """Those of the table that it needs."""
    select: str
    """What becomes of a stage's rows."""
    apart: bool = False
    """Whether a stage has many rows: then these are a table, and the stage's key is said once for all of them."""
    same: str = ""
    """A column that has one long value in most rows of a stage: left out where a row has what the first one has."""


_LISTS: Final[Mapping[str, _List]] = {
    PEOPLE: _List(
        "instances",
        ("instance_id", "dataset", "split", "crop_size_px", "crop_intrinsics"),
        "SELECT instance_id, dataset, split, crop_size_px / 2 / crop_intrinsics[1] AS reach FROM ({rows})",
        apart=True,
    ),
    "pairs": _List(
        "pairs",
        ("instance_id", "generation_id", "winner", "loser", "winner_score", "loser_score", "margin", "strategy"),
        "FROM ({rows})",
        apart=True,
        same="generation_id",
    ),
    "measured": _List(
        "errors",
        ("instance_id", "sample_index", "mpvpe_mm", "mpjpe_mm"),
        "SELECT instance_id, any_value(coalesce(mpvpe_mm, mpjpe_mm)) FILTER (sample_index = 0) AS zero_mm "
        "FROM ({rows}) GROUP BY instance_id",
        apart=True,
    ),
    "scored": _List(
        "scores",
        ("instance_id", "sample_index", "score", "spread_mm"),
        "SELECT instance_id, any_value(score) FILTER (sample_index <= 0) AS zero_score, "
        "any_value(spread_mm) AS spread_mm FROM ({rows}) WHERE isfinite(score) GROUP BY instance_id",
        apart=True,
    ),
    "drawn": _List("hypotheses", ("instance_id",), "SELECT DISTINCT instance_id FROM ({rows})", apart=True),
    "failed": _List("failures", ("id", "stage", "outcome", "reason", "detail", "attempts"), "FROM ({rows})"),
}
_MORE: Final[Mapping[str, str]] = {
    REVIEWED: "stage_key VARCHAR, instance_id VARCHAR, winner INTEGER, loser INTEGER, reviewer VARCHAR, "
    "verdict VARCHAR",
}
"""Those that are made of more than columns of one table: their own."""


@dataclass
class _Derived:
    """A table that was derived from lists, and how many look at it now."""

    name: str
    users: int = 1


class Listing:
    """Lists of one store. Any thread may ask; rows of a stage are taken over by the first that needs them."""

    def __init__(self, store: Store, folder: Path, memory_mb: int = MEMORY_MB) -> None:
        """`folder` is empty and this process's alone; beyond `memory_mb`, lists go there."""
        self.store, self._memory_mb = store, memory_mb
        self._spill = folder / "spill"
        self._spill.mkdir()
        options = {"memory_limit": f"{memory_mb}MB", "threads": "2", "preserve_insertion_order": "false"}
        self._connection = fenced(store, str(self._spill), **options)
        self._lock = threading.Lock()
        self._taken: set[tuple[str, str]] = set()
        self._keeping = threading.Lock()
        self._derived: OrderedDict[tuple[Any, ...], _Derived] = OrderedDict()
        self._count = 0
        self._parts: dict[str, list[str]] = {}
        for name, made in _LISTS.items():
            rows = made.select.format(rows=from_nothing(contract(made.table), made.columns))
            empty = f"SELECT NULL::VARCHAR AS stage_key, * FROM ({rows})"
            self._parts[name] = [empty]
            self._connection.execute(f"CREATE {'VIEW' if made.apart else 'TABLE'} {name} AS {empty}")
        for name, columns in _MORE.items():
            self._connection.execute(f"CREATE TABLE {name} ({columns})")
        self._spreads = Spreads(store, self._connection, self._with_room)

    def close(self) -> None:
        """The end of all lists, once what is being taken over has been: DuckDB closes nothing that is at work."""
        self._spreads.close()
        with self._lock:
            self._connection.close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The answer to a question about lists that were `need`ed."""

        def ask() -> list[dict[str, Any]]:
            with self._connection.cursor() as cursor:
                answer = cursor.execute(sql, list(values))
                names = [column[0] for column in answer.description or ()]
                return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

        with self._told():
            return self._with_room(ask)

    def need(self, name: str, keys: Iterable[str | None]) -> None:
        """Have the rows of these stages in the list `name`: PEOPLE, pairs, measured, scored, drawn or failed."""
        wanted = [key for key in dict.fromkeys(keys) if key]
        if all((name, key) in self._taken for key in wanted):
            return
        with self._lock:
            for key in wanted:
                if (name, key) not in self._taken:
                    self._take(name, key)
                    self._taken.add((name, key))

    def has_spreads(self, key: str) -> bool:
        """Whether a stage's scores say how far the hypotheses of everyone in them lie apart."""
        self.need("scored", [key])
        sql = "SELECT count(*) > 0 AND count(*) = count(spread_mm) AS whole FROM scored WHERE stage_key = ?"
        return bool(self.rows(sql, [key])[0]["whole"])

    def spread_share(self, keys: Sequence[str], patience_s: float) -> float:
        """Which share of these stages' hypotheses their lists `spread_KEY` (instance_id, mm) are made of, after so many
        seconds at most; at 1 they are whole. They are made meanwhile, with the PEOPLE whom the stages saw."""
        self.need(PEOPLE, [ingest for key in keys for ingest in ingests_of(self.store, key)])
        with self._told():
            return self._spreads.share(keys, patience_s)

    def replace(self, name: str, rows: pa.Table) -> None:
        """Have these rows in the list `name` and no others: for what is small and changes. Whoever asks meanwhile gets
        the rows before or those after."""
        with self._lock, self._told(), self._connection.cursor() as cursor:
            cursor.register("rows_now", rows)
            cursor.begin()
            cursor.execute(f"DELETE FROM {name}")
            cursor.execute(f"INSERT INTO {name} BY NAME SELECT * FROM rows_now")
            cursor.commit()

    @contextmanager
    def derived(self, select: str, values: Sequence[Any] = ()) -> Iterator[str]:
        """The name of a table with the answer to a question about lists that were `need`ed. It is asked once; the table
        is there for as long as somebody looks at it, and after that while it is among the last that were looked at."""
        about = (select, *values)
        table = self._held(about)
        if table is None:
            with self._lock:
                table = self._held(about) or self._derive(about)
        try:
            yield table.name
        finally:
            with self._keeping:
                table.users -= 1
                self._forget(_DERIVED)

    def _held(self, about: tuple[Any, ...]) -> _Derived | None:
        with self._keeping:
            table = self._derived.get(about)
            if table is not None:
                table.users += 1
                self._derived.move_to_end(about)
            return table

    def _derive(self, about: tuple[Any, ...]) -> _Derived:
        table = _Derived(f"derived_{self._count}")
        self._count += 1
        with self._told():
            self._with_room(lambda: self._make(table, about))
        with self._keeping:
            self._derived[about] = table
            self._forget(_DERIVED)
        return table

    def _with_room(self, work: Callable[[], Given]) -> Given:
        """What some work gives; where there is no room for it, once more after tables that are only kept gave way."""
        try:
            return work()
        except _NO_ROOM as error:
            if not self._is_of_room(error):
                raise
            with self._keeping:
                self._forget(0)
            return work()

    def _is_of_room(self, error: duckdb.Error) -> bool:
        """Whether memory or the folder beside it is too small; files of the store that can't be read raise the same."""
        return isinstance(error, duckdb.OutOfMemoryException) or (
            isinstance(error, duckdb.IOException) and str(self._spill) in str(error)
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """DuckDB's errors as the store's."""
        try:
            yield
        except duckdb.Error as error:
            if self._is_of_room(error):
                raise self._no_room(error) from error
            first = str(error).splitlines()[0]
            raise StoreError(
                f"Tables of {self.store.url} can't be listed: {first} `adhmr repair` says more."
            ) from error

    def _no_room(self, error: duckdb.Error) -> StoreError:
        return StoreError(
            f"This list needs more room than there is beyond the {self._memory_mb} MB that lists may have in memory "
            f"({str(error).splitlines()[0]}): make room for temporary files (TMPDIR says where), or start the server "
            f"again with `adhmr browse --memory {2 * self._memory_mb}`."
        )

    def _make(self, table: _Derived, about: tuple[Any, ...]) -> None:
        select, *values = about
        with self._connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {table.name} AS {select}", values)

    def _forget(self, most: int) -> None:
        """Drop the tables that nobody looks at, those first that were looked at longest ago, until so many are left."""
        unused = [about for about, table in self._derived.items() if not table.users]
        unused = unused[: max(0, len(self._derived) - most)]
        if not unused:
            return
        with self._told(), self._connection.cursor() as cursor:
            for about in unused:
                cursor.execute(f"DROP TABLE {self._derived.pop(about).name}")

    def _take(self, name: str, key: str) -> None:
        made = _LISTS[name]
        files = [file for file in live_files(self.store, made.table, stage_keys=[key]) if file.rows]
        if not files:
            return
        with self._told(), self._connection.cursor() as cursor:
            alike = from_alike(self.store, contract(made.table), files, made.columns)
            try:
                self._with_room(lambda: self._take_rows(cursor, name, key, alike, files))
            except (duckdb.BinderException, duckdb.InvalidInputException):  # some files lack a column that others have
                each = from_files(self.store, contract(made.table), files)
                self._with_room(lambda: self._take_rows(cursor, name, key, each, files))

    def _take_rows(
        self, cursor: duckdb.DuckDBPyConnection, name: str, key: str, source: str, files: list[DataFile]
    ) -> None:
        made = _LISTS[name]
        rows = made.select.format(rows=f"SELECT {', '.join(made.columns)} FROM ({source})")
        if not made.apart:
            cursor.execute(f"INSERT INTO {name} SELECT {quoted(key)}, * FROM ({rows})")
            return
        table, shown = f"{name}_{len(self._parts[name])}", ""
        if made.same:
            of_first = from_files(self.store, contract(made.table), files[:1])
            (value,) = cursor.execute(f"SELECT {made.same} FROM ({of_first}) LIMIT 1").fetchall()[0]
            rows = f"SELECT * REPLACE (nullif({made.same}, {quoted(value)}) AS {made.same}) FROM ({rows})"
            shown = f" REPLACE (coalesce({made.same}, {quoted(value)}) AS {made.same})"
        cursor.execute(f"CREATE TABLE {table} AS {rows}")
        self._parts[name].append(f"SELECT {quoted(key)} AS stage_key, *{shown} FROM {table}")
        cursor.execute(f"CREATE OR REPLACE VIEW {name} AS {' UNION ALL '.join(self._parts[name])}")
