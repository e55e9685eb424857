"""Shards: fixed cuts of a stage's work, each with its files and a receipt that says the shard is done.

Which ids make up a shard depends on the ids and the shard size alone, never on workers or restarts. A worker writes the
shard's file for each table (temporary name, then its own), and last the receipt: a small JSON file under
`shards/<stage key>/`. Resuming means doing the shards that have no receipt. Files and receipts are never replaced, so
of two workers that did the same shard the first one's word stands for both; but for those that were damaged: a receipt
counts only if it can be read and its files are as it says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import lru_cache
from io import BytesIO
from operator import add
from sys import intern
from typing import Any, TypeVar, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra import faults
from infra.data_files import DataFile, IdRange, shard_file_name
from infra.intact import damage_once, is_checked
from infra.sealed import read_json, sealed_json
from infra.store import Store
from infra.table_rows import ascending
from schemas.digests import code_digest, digest
from schemas.errors import DamagedError, DataError, StoreError
from schemas.tables import TableContract, conform, contract

_LOOKS_AT_ONCE = 8
_LOOKS_WAITING = 64 * _LOOKS_AT_ONCE
_FOOTER_BYTES = 2**16
"""What is read of the end of a file; few footers are longer."""
Each = TypeVar("Each")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Shard:
    """Some of a stage's units, in sorted order."""

    index: int
    ids: tuple[str, ...]
    is_part: bool = False
    """Whether these are some units of a shard that raised, which are tried alone: no shard of the stage."""


@dataclass(frozen=True)
class Shards(Sequence[Shard]):
    """All shards of a stage. `ids` are sorted; a million of them are text in one place, and no objects."""

    ids: pa.StringArray
    size: int

    def __len__(self) -> int:
        return -(-len(self.ids) // self.size)

    @overload
    def __getitem__(self, place: int) -> Shard: ...
    @overload
    def __getitem__(self, place: slice) -> list[Shard]: ...
    def __getitem__(self, place: int | slice) -> Shard | list[Shard]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        index = range(len(self))[place]
        return Shard(index, tuple(self.ids[index * self.size : (index + 1) * self.size].to_pylist()))


@dataclass(frozen=True, slots=True)
class Tally:
    """How the units of a shard or stage ended. `crashed` of the `failed` ones raised an unexpected exception."""

    ok: int = 0
    filtered: int = 0
    failed: int = 0
    crashed: int = 0

    @property
    def total(self) -> int:
        return self.ok + self.filtered + self.failed

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*map(add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a finished shard left behind. `files` names those with rows only; `code` is the digest of what made them."""

    index: int
    ids_digest: str
    tables: tuple[str, ...]
    tally: Tally
    files: tuple[DataFile, ...]
    code: str = ""

    @property
    def is_of_other_code(self) -> bool:
        """Whether another state of our code than this process runs made it."""
        return self.code not in ("", code_digest())


def cut(ids: Iterable[str] | pa.StringArray, shard_size: int) -> Shards:
    """Sorted ids in shards of `shard_size` (the last may be smaller). DataError for a size below 1 or a repeated id."""
    if shard_size < 1:
        raise DataError(f"shard_size is {shard_size}; it must be at least 1.")
    ordered = ascending(ids if isinstance(ids, pa.StringArray) else pa.array(ids, pa.string()))
    twice = pc.index(pc.equal(ordered[1:], ordered[:-1]), True).as_py() if len(ordered) else -1
    if twice >= 0:
        raise DataError(f"The unit {ordered[twice].as_py()!r} was given twice; every unit may stand once.")
    return Shards(ordered, shard_size)


def write_shard(
    store: Store, stage_key: str, shard: Shard, tables: Mapping[str, pa.Table], tally: Tally, *, stage: str = ""
) -> Receipt:
    """Write the shard's files, then its receipt; the receipt that now counts is the answer (perhaps another worker's).

    `tables` must hold every table that the stage writes, with no rows where there are none; a column `stage_key` is
    filled in where it is missing. Raises DataError for rows that break their table's contract, and StoreError where the
    shard was made from other units under the same key.
    """
    path = _receipt_path(stage_key, shard.index)
    earlier = _read_receipt(store, path)
    if isinstance(earlier, Receipt) and not damage(store, [earlier]):
        return _same_work(earlier, shard, stage)
    if earlier is not None:
        store.remove(path)
    files: list[DataFile] = []
    for name in sorted(tables):
        files.extend(
            _write_table(store, stage_key, shard.index, contract(name), stamped(name, tables[name], stage_key))
        )
    receipt = Receipt(shard.index, digest(shard.ids), tuple(sorted(tables)), tally, tuple(files), code_digest())
    if store.atomic_write(path, sealed_json(_as_json(receipt)), replace=False):
        return receipt
    theirs = _read_receipt(store, path)
    if not isinstance(theirs, Receipt):
        raise StoreError(f"{store.uri(path)} was written a moment ago, and {theirs or 'is gone'}. Run again.")
    return _same_work(theirs, shard, stage)


def receipts(
    store: Store, stage_key: str, shards: Sequence[Shard], *, say: Callable[[str], None] = lambda text: None
) -> dict[int, Receipt]:
    """The receipts of those shards that are done, by index.

    A shard whose receipt can't be read, or is of other units, or whose files are not as it says counts as not done: it
    is undone (`forget`), and `say` hears of it.
    """
    present = {path.rsplit("/", 1)[-1] for path in store.list_files(f"shards/{stage_key}")}
    # of each its units' digest alone is kept: a million names are a hundred megabytes
    done = (
        [(shard.index, digest(shard.ids)) for shard in shards if f"{shard.index:05d}.json" in present]
        if present
        else []
    )
    found: dict[int, Receipt] = {}
    problems: dict[int, str] = {}
    read = _looks(store, lambda one: _read_receipt(store, _receipt_path(stage_key, one[0])), done)
    for (index, units), receipt in zip(done, read, strict=True):
        if isinstance(receipt, str):
            problems[index] = f"its receipt {receipt}"
        elif receipt is not None and (receipt.index, receipt.ids_digest) != (index, units):
            problems[index] = "its receipt is of other units"
        elif receipt is not None:
            found[index] = receipt
    problems |= damage(store, list(found.values()))
    for index, text in sorted(problems.items()):
        say(f"shard {index} is made again: {text}")
        forget(store, stage_key, index)
    return {index: receipt for index, receipt in found.items() if index not in problems}


def damage(store: Store, found: Sequence[Receipt]) -> dict[int, str]:
    """What is wrong with the files of these receipts, by index: not there, of another size, other rows; where files are
    checked (`infra.intact`), other bytes."""
    files = [(receipt.index, file) for receipt in found for file in receipt.files]
    sizes = store.sizes([file.name for _, file in files])
    problems = _looks(store, lambda one: (one[0], _problem(store, one[1], sizes.get(one[1].name))), files)
    return {index: text for index, text in problems if text}


def _looks(store: Store, look: Callable[[Each], Found], at: Sequence[Each]) -> Iterator[Found]:
    """What `look` finds at each, in their order; on S3 several are looked at together.

    A look that waits for its turn is a kilobyte, and there may be tens of thousands: so many of them wait at a time.
    """
    if store.is_local:
        yield from map(look, at)
        return
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as looks:
        for start in range(0, len(at), _LOOKS_WAITING):
            yield from looks.map(look, at[start : start + _LOOKS_WAITING])


def rows_of(store: Store, name: str) -> int | None:
    """The rows of a Parquet file, as its footer says; None where it is none, or a damaged one."""
    tail = bytes(store.fs.cat_file(store.path(name), start=-_FOOTER_BYTES))
    length = int.from_bytes(tail[-8:-4], "little") + 8
    try:
        return int(pq.read_metadata(BytesIO(tail if length <= len(tail) else store.read_bytes(name))).num_rows)
    except (pa.ArrowException, OSError):  # what Arrow calls an OSError here is a footer that is none
        return None


def _problem(store: Store, file: DataFile, size: int | None) -> str:
    if is_checked(store):
        return damage_once(store, file)
    if size is None:
        return f"{file.name} is not there"
    if size != file.size:
        return f"{file.name} has {size} bytes instead of {file.size}"
    rows = rows_of(store, file.name)
    return "" if rows == file.rows else f"{file.name} has {'no readable' if rows is None else rows} rows"


def forget(store: Store, stage_key: str, index: int) -> None:
    """Undo a shard of a stage that was never committed, so that the next run does it again."""
    receipt = _read_receipt(store, _receipt_path(stage_key, index))
    for file in receipt.files if isinstance(receipt, Receipt) else ():
        store.remove(file.name)
    # last: a receipt without files is seen for what it is, files without a receipt would lie there until a vacuum
    store.remove(_receipt_path(stage_key, index))


def receipts_left(store: Store, stage_key: str) -> list[Receipt]:
    """Whatever receipts of a stage can be read, of how many shards it may have been; their files are not looked at."""
    paths = store.whole_files(f"shards/{stage_key}")
    return [receipt for path in paths if isinstance(receipt := _read_receipt(store, path), Receipt)]


def unreadable_receipts(store: Store) -> list[tuple[str, str]]:
    """Every receipt of the store that can't be read, and why."""
    paths = store.whole_files("shards")
    return [(path, f"is a receipt that {why}") for path in paths if isinstance(why := _read_receipt(store, path), str)]


def stamped(table: str, rows: pa.Table, stage_key: str) -> pa.Table:
    """`rows` in the table's form, with the stage's key in every row. DataError if they name another stage."""
    if "stage_key" not in rows.column_names:
        rows = rows.append_column("stage_key", pa.array([stage_key] * len(rows), pa.string()))
    rows = conform(table, rows)
    if pc.any(pc.not_equal(rows.column("stage_key"), stage_key)).as_py():
        raise DataError(f"Table {table}: rows carry the key of another stage than the one that writes them.")
    return rows


def id_range(known: TableContract, rows: pa.Table) -> IdRange | None:
    """The bounds of what the rows of a table are about; None where its rows are about nobody, or there is none."""
    if known.unit is None or len(rows) == 0:
        return None
    return IdRange(*pc.min_max(rows.column(known.unit)).as_py().values())


def parquet_bytes(rows: pa.Table, *, row_group_size: int = 65536, write_statistics: bool | list[str] = True) -> bytes:
    """The Parquet file of `rows`: a fixed function of its content (no times, no names of machines).

    Numbers of networks seldom repeat: a dictionary of them is larger than they are, and zstd takes a third of a read's
    time for a tenth of their size. Snappy, which every reader of Parquet has, takes next to none.
    """
    buffer, form = BytesIO(), {"row_group_size": row_group_size, "write_statistics": write_statistics}
    repeating = [
        field.name for field in rows.schema if not (_is_measured(field.type) or pa.types.is_binary(field.type))
    ]
    leaves = (leaf for field in rows.schema for leaf in _leaves(field.name, field.type))
    compression = {path: "snappy" if pa.types.is_floating(kind) else "zstd" for path, kind in leaves}
    pq.write_table(rows, buffer, compression=compression, version="2.6", use_dictionary=repeating, **form)
    return buffer.getvalue()


def _leaves(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """What Parquet calls the values of a column, and their kinds: one, or those of each part of a structure."""
    if pa.types.is_struct(kind):
        for part in kind:
            yield from _leaves(f"{path}.{part.name}", part.type)
    elif pa.types.is_nested(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path, kind


def _is_measured(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or (pa.types.is_nested(kind) and _is_measured(kind.field(0).type))


def _write_table(store: Store, key: str, index: int, known: TableContract, rows: pa.Table) -> list[DataFile]:
    files = []
    for partition, part in _partitions(known, rows):
        folder = "".join(f"{name}={value}/" for name, value in partition)
        data = parquet_bytes(part)
        path = folder + shard_file_name(key, index, data)
        faults.reach(f"shard-file:{known.name}")
        file = DataFile(known.name, path, partition, len(part), len(data), id_range(known, part))
        if not store.atomic_write(file.name, data, replace=False) and store.read_bytes(file.name) != data:
            store.atomic_write(file.name, data)  # its name says what it holds, so this one was damaged
        files.append(file)
    return files


def _partitions(known: TableContract, rows: pa.Table) -> list[tuple[tuple[tuple[str, str], ...], pa.Table]]:
    """The rows of each partition, without the partition columns; nothing for a table without rows."""
    if len(rows) == 0:
        return []
    columns = list(known.partition_by)
    if not columns:
        return [((), rows)]
    groups = (
        rows.select(columns)
        .group_by(columns, use_threads=False)
        .aggregate([])
        .sort_by([(n, "ascending") for n in columns])
    )
    parts = []
    for group in groups.to_pylist():
        mask = pc.equal(rows.column(columns[0]), group[columns[0]])
        for name in columns[1:]:
            mask = pc.and_(mask, pc.equal(rows.column(name), group[name]))
        part = rows.filter(mask).select(known.file_schema.names).combine_chunks()
        parts.append((tuple((name, str(group[name])) for name in columns), part))
    return parts


def _receipt_path(stage_key: str, index: int) -> str:
    return f"shards/{stage_key}/{index:05d}.json"


def _as_json(receipt: Receipt) -> dict[str, object]:
    return {
        "index": receipt.index,
        "ids": receipt.ids_digest,
        "tables": list(receipt.tables),
        "tally": list(astuple(receipt.tally)),
        "files": [[f.table, f.path, [list(pair) for pair in f.partition], f.rows, f.size] for f in receipt.files],
        "ranges": [None if file.ids is None else list(file.ids) for file in receipt.files],
        "code": receipt.code,
    }


def _read_receipt(store: Store, path: str) -> Receipt | str | None:
    """The receipt, or what is wrong with it; None where it isn't there."""
    try:
        data = store.read_bytes(path)
    except StoreError:
        return None
    try:
        raw = read_json(data, path)
        ranges = raw.get("ranges") or [None] * len(raw["files"])  # older versions noted none
        files = tuple(
            DataFile(
                intern(table),
                file,
                _one_of(tuple((name, value) for name, value in partition)),
                int(rows),
                int(size),
                None if bounds is None else IdRange(*bounds),
            )
            for (table, file, partition, rows, size), bounds in zip(raw["files"], ranges, strict=True)
        )
        tally = Tally(*(int(count) for count in raw["tally"]))
        tables = _one_of(tuple(raw["tables"]))
        return Receipt(int(raw["index"]), raw["ids"], tables, tally, files, intern(raw.get("code", "")))
    except (DamagedError, ValueError):
        return "is damaged"
    except (TypeError, KeyError, AttributeError, IndexError):
        return "has other fields than a receipt"


@lru_cache(256)
def _one_of(names: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same names for all who have equal ones: receipts of a stage are many, and differ little in them."""
    return names


def _same_work(receipt: Receipt, shard: Shard, stage: str) -> Receipt:
    if receipt.ids_digest != digest(shard.ids):
        raise StoreError(
            f"Shard {shard.index} of stage {stage or '?'} was made from other units under the same key. Whatever "
            "decides the units and the shard size must stand in the stage's configuration or inputs."
        )
    return receipt
