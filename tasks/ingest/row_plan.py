"""The plan of an ingest of preference data: its rows with what was found out about them, in one file for each shard.

Such files are read from front to back, and only a whole reading tells which people, pictures and hypotheses come twice.
So the driver reads them once, judges, and leaves the rows below `ingests/<stage key>/` of the store, where any worker
finds its shard. What is in memory is a shard's rows and the ids.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.shards import Shard
from infra.stages import StageSpec
from infra.store import Store
from schemas.digests import canonical_json, digest, stream_digest
from schemas.errors import DataError
from tasks.ingest.folder import Folder, is_picture, open_url, printable

_PACKED = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True)
class RowPlan:
    """The units of a stage, in the order of their ids, and what the reading as a whole found out."""

    ids: list[str]
    facts: Mapping[str, Any]


def row_id(place: str, row: int) -> str:
    """The name of row `row` of `place` (a text that is the same for all rows): sorted as the rows are."""
    return f"{place} row {row:09d}"


def plan_folder(spec: StageSpec) -> str:
    """Where in the store a stage's plan lies while the stage is done."""
    return f"ingests/{spec.key[:16]}"


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
    if store.exists(f"{folder}/plan.json"):
        told = json.loads(store.read_bytes(f"{folder}/plan.json"))
        return RowPlan(told["ids"], told["facts"])
    ids: list[str] = []
    for number, rows in enumerate(_slices(read(), shard_size)):
        ids.extend(rows.column("id").to_pylist())
        store.atomic_write(f"{folder}/{number:06d}.arrow", _packed(rows))
    if not ids:
        raise DataError("The source has no row, so there is nothing to ingest.")
    plan = RowPlan(ids, dict(facts()))
    store.atomic_write(f"{folder}/plan.json", canonical_json({"ids": ids, "facts": plan.facts}).encode())
    return plan


def planned_rows(store: Store, folder: str, shard: Shard) -> pa.Table:
    """The rows of a shard, as `plan_rows` was given them."""
    with pa.ipc.open_file(pa.BufferReader(store.read_bytes(f"{folder}/{shard.index:06d}.arrow"))) as file:
        rows = file.read_all()
    return rows.filter(pc.is_in(rows.column("id"), value_set=pa.array(shard.ids, pa.string()))).combine_chunks()


def forget_rows(store: Store, folder: str) -> None:
    """Remove the plan of a stage that is committed."""
    if store.fs.exists(store.path(folder)):
        store.fs.rm(store.path(folder), recursive=True)


def content_digest(files: Sequence[str], pictures: Folder | None = None) -> str:
    """Digest of what a source is: the bytes of its files; of a folder of pictures names, sizes and times."""
    read = []
    for url in files:
        fs, path = open_url(url)
        try:
            with fs.open(path, "rb") as opened:
                read.append(stream_digest(opened))
        except OSError as error:
            raise DataError(f"{url} can't be read: {error}") from error
    listing = [
        [printable(name), int(about.get("size") or 0), str(about.get("ETag") or about.get("mtime") or "")]
        for name, about in (pictures.files() if pictures else {}).items()
        if is_picture(name)
    ]
    return digest({"files": read, "pictures": listing})


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


def _slices(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Tables of exactly `size` rows (the last may be smaller), however the rows come."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        while count >= size:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, size).combine_chunks()
            waiting, count = [whole.slice(size)], count - size
    if count:
        yield pa.concat_tables(waiting).combine_chunks()
