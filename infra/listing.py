"""Lists of large tables for people who look through them: narrow columns of finished stages, in a DuckDB of its own.

What a finished stage wrote never changes, so its rows are taken over once, when a list first asks for that stage;
sorting and filtering a million of them then takes a fraction of a second. They are kept in memory, which takes half of
the time that a file of DuckDB's does, as nothing is compressed; beyond MEMORY they go to a private folder, the
process's alone. Unlike `read` and `query`, lists do not compare data files with their digests: that would read all of
them, pictures and poses too.
"""

# as text: DuckDB complains at the end of a process of types that an annotation holds
from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.data_files import DataFile
from infra.store import Store
from infra.table_rows import read_files
from infra.tables import live_files
from infra.views import fenced, from_alike, from_files, from_nothing, quoted
from schemas.errors import StoreError
from schemas.tables import contract, matrix

MEMORY: Final = "160MB"
PEOPLE: Final = "people"
SPREAD: Final = "spread"
REVIEWED: Final = "reviewed"
_JOINTS: Final = 29
_DERIVED: Final = 8
"""Tables that are derived from lists and kept."""


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
        ("instance_id", "sample_index", "score"),
        "SELECT instance_id, any_value(score) FILTER (sample_index <= 0) AS zero_score "
        "FROM ({rows}) WHERE isfinite(score) GROUP BY instance_id",
        apart=True,
    ),
    "failed": _List("failures", ("id", "stage", "outcome", "reason", "detail", "attempts"), "FROM ({rows})"),
}
_MORE: Final[Mapping[str, str]] = {
    SPREAD: "stage_key VARCHAR, instance_id VARCHAR, mm DOUBLE",
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

    def __init__(self, store: Store, folder: Path) -> None:
        """`folder` is empty and this process's alone."""
        self.store = store
        spill = folder / "spill"
        spill.mkdir()
        options = {"memory_limit": MEMORY, "threads": "2", "preserve_insertion_order": "false"}
        self._connection = fenced(store, str(spill), **options)
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

    def close(self) -> None:
        """The end of all lists, once what is being taken over has been: DuckDB closes nothing that is at work."""
        with self._lock:
            self._connection.close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The answer to a question about lists that were `need`ed."""
        with self._connection.cursor() as cursor:
            answer = cursor.execute(sql, list(values))
            names = [column[0] for column in answer.description or ()]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def need(self, name: str, keys: Iterable[str | None]) -> None:
        """Have the rows of these stages in the list `name`: PEOPLE, pairs, measured, scored, failed, or SPREAD, which
        needs the PEOPLE of the stage."""
        wanted = [key for key in dict.fromkeys(keys) if key]
        if all((name, key) in self._taken for key in wanted):
            return
        with self._lock:
            for key in wanted:
                if (name, key) not in self._taken:
                    (self._take_spread if name == SPREAD else self._take)(name, key)
                    self._taken.add((name, key))

    def replace(self, name: str, rows: pa.Table) -> None:
        """Have these rows in the list `name` and no others: for what is small and changes. Whoever asks meanwhile gets
        the rows before or those after."""
        with self._lock, self._connection.cursor() as cursor:
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
                self._forget()

    def _held(self, about: tuple[Any, ...]) -> _Derived | None:
        with self._keeping:
            table = self._derived.get(about)
            if table is not None:
                table.users += 1
                self._derived.move_to_end(about)
            return table

    def _derive(self, about: tuple[Any, ...]) -> _Derived:
        select, *values = about
        table = _Derived(f"derived_{self._count}")
        self._count += 1
        with self._connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {table.name} AS {select}", values)
        with self._keeping:
            self._derived[about] = table
            self._forget()
        return table

    def _forget(self) -> None:
        """Drop the tables that nobody looks at, those first that were looked at longest ago, until few are left."""
        unused = [about for about, table in self._derived.items() if not table.users]
        with self._connection.cursor() as cursor:
            for about in unused[: max(0, len(self._derived) - _DERIVED)]:
                cursor.execute(f"DROP TABLE {self._derived.pop(about).name}")

    def _take(self, name: str, key: str) -> None:
        made = _LISTS[name]
        files = [file for file in live_files(self.store, made.table, stage_keys=[key]) if file.rows]
        if not files:
            return
        with self._connection.cursor() as cursor, _readable(self.store):
            try:
                self._take_rows(
                    cursor, name, key, from_alike(self.store, contract(made.table), files, made.columns), files
                )
            except (duckdb.BinderException, duckdb.InvalidInputException):  # some files lack a column that others have
                self._take_rows(cursor, name, key, from_files(self.store, contract(made.table), files), files)

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

    def _take_spread(self, name: str, key: str) -> None:
        """File by file: poses are most of what a store holds."""
        columns = ["instance_id", "sample_index", "uvd", "root_depth_m"]
        for file in live_files(self.store, "hypotheses", stage_keys=[key]):
            table = read_files(self.store, contract("hypotheses"), [file], columns=columns)
            table = table.filter(pc.greater(table.column("sample_index"), 0))
            with self._connection.cursor() as cursor:
                cursor.register("of_file", table.select(["instance_id"]))
                of_people = (
                    f"SELECT instance_id, any_value(reach) AS reach FROM {PEOPLE} JOIN of_file USING (instance_id)"
                )
                cursor.execute(f"{of_people} GROUP BY instance_id")
                spread = spread_of(table, dict(cursor.fetchall()))
                cursor.register("spread_of_file", spread)
                cursor.execute(f"INSERT INTO {name} SELECT ?, instance_id, mm FROM spread_of_file", [key])


def spread_of(hypotheses: pa.Table, reach: Mapping[str, float]) -> pa.Table:
    """How far each person's hypotheses lie apart, in mm: root mean square distance of a joint from its mean place, the
    pelvises laid together, averaged over the 29 joints. By weak perspective: all of a body as far away as its pelvis.

    `hypotheses` has the columns instance_id, uvd, root_depth_m; `reach` half a crop's side in metres, at 1 m, by
    instance_id. Gives instance_id and mm, null for whom it is not known.
    """
    ordered = hypotheses.sort_by("instance_id")
    ids = ordered.column("instance_id").combine_chunks()
    if not len(ids):
        return pa.table({"instance_id": pa.array([], pa.string()), "mm": pa.array([], pa.float64())})
    starts = np.flatnonzero(np.diff(ids.dictionary_encode().indices.to_numpy(), prepend=-1))
    people = ids.take(pa.array(starts)).to_pylist()
    counts = np.diff([*starts, len(ids)])
    metres = np.repeat([reach.get(name, np.nan) for name in people], counts) * ordered.column("root_depth_m").to_numpy()
    joints = matrix(ordered, "uvd").reshape(-1, _JOINTS, 3).astype(np.float64)
    joints = joints - joints[:, :1]
    joints[..., :2] *= metres[:, None, None]
    mean = np.add.reduceat(joints, starts) / counts[:, None, None]
    square = np.maximum(np.add.reduceat(joints**2, starts) / counts[:, None, None] - mean**2, 0.0)
    spread = np.sqrt(square.sum(-1)).mean(-1) * 1000
    return pa.table({"instance_id": people, "mm": pa.array(spread, pa.float64(), mask=np.isnan(spread))})


class _readable:  # noqa: N801 - a context like those of contextlib
    """DuckDB's errors about files as one of the store's."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, duckdb.Error):
            first = str(error).splitlines()[0]
            raise StoreError(
                f"Tables of {self.store.url} can't be listed: {first} `adhmr repair` says more."
            ) from error
