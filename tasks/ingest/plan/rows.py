"""The plan of an ingest of preference data: its rows with what was found out about them, in one file for each shard.

Such files are read from front to back, and only a whole reading tells which people, pictures and hypotheses come twice.
So the driver reads them once, judges, and leaves the rows below `ingests/<stage key>/` of the store, where any worker
finds its shard. What is in memory is a shard's rows and the ids.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.shards import Shard
from infra.store import Store
from schemas.digests import canonical_json
from schemas.errors import DataError
from tasks.ingest.plan.files import read_planned, slices, summary_file, write_planned

_PACKED = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True)
class RowPlan:
    """The units of a stage, in the order of their ids, and what the reading as a whole found out."""

    ids: list[str]
    facts: Mapping[str, Any]


def row_id(place: str, row: int) -> str:
    """The name of row `row` of `place` (a text that is the same for all rows): sorted as the rows are."""
    return f"{place} row {row:09d}"


def plan_rows(
    store: Store,
    folder: str,
    shard_size: int,
    read: Callable[[], Iterable[pa.Table]],
    facts: Callable[[], Mapping[str, Any]],
) -> RowPlan:
    """Write what `read` yields (tables with a column `id`, ascending), or find it written by a run that was broken off.

    `facts` (values of JSON) is asked when all is read. DataError where there is no row.
    """
    if store.exists(summary_file(folder)):
        summary = json.loads(read_planned(store, summary_file(folder)))
        return RowPlan(summary["ids"], summary["facts"])
    ids: list[str] = []
    for number, rows in enumerate(slices(read(), shard_size)):
        ids.extend(rows.column("id").to_pylist())
        write_planned(store, f"{folder}/{number:06d}.arrow", _packed(rows))
    if not ids:
        raise DataError("The source has no row, so there is nothing to ingest.")
    plan = RowPlan(ids, dict(facts()))
    write_planned(store, summary_file(folder), canonical_json({"ids": ids, "facts": plan.facts}).encode())
    return plan


def planned_rows(store: Store, folder: str, shard: Shard) -> pa.Table:
    """The rows of a shard, as `plan_rows` was given them."""
    with pa.ipc.open_file(pa.BufferReader(read_planned(store, f"{folder}/{shard.index:06d}.arrow"))) as file:
        rows = file.read_all()
    return rows.filter(pc.is_in(rows.column("id"), value_set=pa.array(shard.ids, pa.string()))).combine_chunks()


def rows_matrix(rows: pa.Table | pa.RecordBatch, column: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A column of vectors of one length as an array (rows, *shape); NaN in rows that have none."""
    values = rows.column(column)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    known = pc.is_valid(values).to_numpy(zero_copy_only=False)
    held = np.asarray(pc.list_flatten(values.filter(pa.array(known))).to_numpy(zero_copy_only=False))
    whole = np.full((len(values), int(np.prod(shape))), np.nan, held.dtype)
    whole[known] = held.reshape(int(known.sum()), whole.shape[1])
    return whole.reshape(len(values), *shape)


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema, options=_PACKED) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()
