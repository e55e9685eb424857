"""The plan of an ingest: its units with what a whole reading of the source says of them, in one file for each shard.

Sources are read from front to back, and only a whole reading shows which people, pictures and hypotheses come twice. So
the driver reads them once, and leaves their rows below `ingests/<stage key>/` of the store, where any worker finds its
shard. What is in memory is a shard's rows and the ids.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.shards import Shard
from infra.store import Store
from schemas.digests import canonical_json
from schemas.errors import DataError
from tasks.ingest.people.annotations import Reader
from tasks.ingest.plan.files import read_planned, slices, summary_file, write_planned
from tasks.ingest.source.folder import RefusedError

_PACKED = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True)
class Plan:
    """The ids of a stage's units, ascending, and the facts (values of JSON) that the whole reading gave."""

    ids: list[str]
    facts: Mapping[str, Any]


def plan_rows(
    store: Store,
    folder: str,
    shard_size: int,
    read: Callable[[], Iterable[pa.Table]],
    facts: Callable[[], Mapping[str, Any]],
) -> Plan:
    """Write what `read` yields (tables with a column `id`, ascending), or find it written by a run that was broken off.

    `facts` (values of JSON) is asked when all is read.
    """
    if store.exists(summary_file(folder)):
        summary = json.loads(read_planned(store, summary_file(folder)))
        if "facts" in summary:  # a plan that a release before this one left has other files
            return Plan(summary["ids"], summary["facts"])
    ids: list[str] = []
    for number, rows in enumerate(slices(read(), shard_size)):
        ids.extend(rows.column("id").to_pylist())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, rows.schema, options=_PACKED) as writer:
            writer.write_table(rows)
        write_planned(store, _file(folder, number), sink.getvalue().to_pybytes())
    plan = Plan(ids, dict(facts()))
    write_planned(store, summary_file(folder), canonical_json({"ids": ids, "facts": plan.facts}).encode())
    return plan


def planned_rows(store: Store, folder: str, shard: Shard) -> pa.Table:
    """The rows of a shard, as `plan_rows` got them."""
    with pa.ipc.open_file(pa.BufferReader(read_planned(store, _file(folder, shard.index)))) as file:
        rows = file.read_all()
    return rows.filter(pc.is_in(rows.column("id"), value_set=pa.array(shard.ids, pa.string()))).combine_chunks()


def units_of(store: Store, folder: str, shard: Shard) -> list[dict[str, Any]]:
    """The rows of a shard as dictionaries."""
    units: list[dict[str, Any]] = planned_rows(store, folder, shard).to_pylist()
    return units


class RowMatcher(ABC):
    """Goes through the rows of a source once: the id of each and the columns that it gets, or why it can't be used."""

    columns: ClassVar[pa.Schema]
    """What `match` gives."""
    long: ClassVar[tuple[str, ...]] = ()
    """Columns of the source that `match` doesn't look at."""
    unused: ClassVar[tuple[str, ...]] = ()
    """Columns of the source that no table takes."""

    def __init__(self, reader: Reader, place: str) -> None:
        """`place`: a text that is the same for all rows, and that their ids begin with."""
        self.reader, self.place = reader, place
        self.rows = self.matched = 0
        self.unreadable = self.unmatched = ""
        """The first refusal of the reader, and the first of `match`."""

    @abstractmethod
    def match(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The `columns` of a row. RefusedError for one that can't be used."""

    def described(self, rows: pa.Table) -> list[dict[str, Any]]:
        """Rows as `match` takes them."""
        described: list[dict[str, Any]] = rows.drop_columns(
            [name for name in self.long if name in rows.column_names]
        ).to_pylist()
        return described

    def tables(self) -> Iterator[pa.Table]:
        """The rows with their columns, in the order of the source. DataError where it has none."""
        every = self.reader.source.every
        for batch in self.reader.batches():
            rows = pa.Table.from_batches([batch])
            rows = rows.drop_columns([name for name in self.unused if name in rows.column_names])
            yield self._with_matches(rows.filter(pa.array(rows.column("row").to_numpy() % every == 0)).combine_chunks())
        if not self.rows:
            raise DataError("The source has no row, so there is nothing to ingest.")

    def _with_matches(self, rows: pa.Table) -> pa.Table:
        self.rows += len(rows)
        described, matches = self.described(rows), []
        for row in described:
            match: dict[str, Any] = {"id": f"{self.place} row {row['row']:09d}"}  # sorted as the rows are
            if row["reason"] is not None:
                self.unreadable = self.unreadable or f"{row['origin']}: {row['reason']}: {row['detail']}"
            else:
                try:
                    match |= self.match(row)
                    self.matched += 1
                except RefusedError as refusal:
                    row["reason"], row["detail"] = refusal.reason, refusal.detail
                    self.unmatched = self.unmatched or f"{row['origin']}: {refusal}"
            matches.append(match)
        for name in ("reason", "detail"):
            values = pa.array([row[name] for row in described], pa.string())
            rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
        for column in (pa.field("id", pa.string(), False), *self.columns):
            rows = rows.append_column(column, pa.array([match.get(column.name) for match in matches], column.type))
        return rows


def rows_matrix(rows: pa.Table | pa.RecordBatch, column: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A column of vectors of one length as an array (rows, *shape); NaN in rows that have none."""
    values = rows.column(column)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    valid = pc.is_valid(values).to_numpy(zero_copy_only=False)
    numbers = np.asarray(pc.list_flatten(values.filter(pa.array(valid))).to_numpy(zero_copy_only=False))
    matrix = np.full((len(values), int(np.prod(shape))), np.nan, numbers.dtype)
    matrix[valid] = numbers.reshape(int(valid.sum()), matrix.shape[1])
    return matrix.reshape(len(values), *shape)


def _file(folder: str, number: int) -> str:
    return f"{folder}/{number:06d}.arrow"
