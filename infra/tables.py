"""Delta tables of a store: add the files that workers wrote, once and only once, and read the rows of finished stages.

A file's name carries the key of the stage that wrote it (`part-<key>-<shard>.parquet`), so whose rows it holds is known
without opening it. Reading takes the list of finished stages first and the table's files after it: whatever stands in
that list was added to its tables before, so the two fit together whoever writes meanwhile.
"""

import json
import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from infra.store import Store
from schemas.digests import bytes_digest
from schemas.errors import DataError, StoreError
from schemas.tables import TableContract, contract

_NAME = re.compile(r"part-([0-9a-f]{64}|log)-([0-9a-z]+)\.parquet")
_ATTEMPTS = 30
_TROUBLES = 3
"""Times that a table is tried again after S3 failed, beside the retries of the storage client itself."""


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a table. `path` is below the table's folder and names the partition; `size` in bytes."""

    table: str
    path: str
    partition: tuple[tuple[str, str], ...]
    rows: int
    size: int

    @property
    def stage_key(self) -> str:
        """Whose rows it holds; "log" in tables that no stage writes."""
        match = _NAME.fullmatch(self.path.rsplit("/", 1)[-1])
        if match is None:
            raise StoreError(f"Table {self.table} holds a file that this engine did not write: {self.path}.")
        return match.group(1)


def file_name(stage_key: str, which: str) -> str:
    """`part-<key>-<which>.parquet`; `which` of small letters and digits."""
    return f"part-{stage_key}-{which}.parquet"


def shard_file_name(stage_key: str, shard: int, data: bytes) -> str:
    """The name of a shard's file, by its content: a run that makes the same rows as one that died meets its file again,
    and one that makes others has a file of its own."""
    return file_name(stage_key, f"{shard:05d}x{bytes_digest(data)[:16]}")


def log_entry(table: str, version: int) -> str:
    """The file of a table's log that made this version, named below the store's root."""
    return f"tables/{table}/_delta_log/{version:020d}.json"


def open_table(store: Store, table: str) -> DeltaTable | None:
    """The table at its newest version, or None if nothing was ever written to it."""
    known = contract(table)
    try:
        opened = _patiently(store, lambda: DeltaTable(store.table_uri(table), storage_options=store.storage_options()))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise StoreError(f"Table {table} in {store.url} can't be opened: {error}") from error
    columns = [field.name for field in opened.schema().fields]
    if columns != known.schema.names:
        raise StoreError(
            f"Table {table} in {store.url} has other columns than this version of the engine knows "
            f"({', '.join(sorted(set(columns) ^ set(known.schema.names))) or 'another order'}). Use a new store."
        )
    return opened


def add_files(
    store: Store, table: str, files: Iterable[DataFile], transactions: Mapping[str, int], *, note: str = ""
) -> bool:
    """Add `files` to `table` in one transaction that also carries the application transactions (name -> version).

    True if this call did it; False if one of the names already stands at that version or above: somebody did it before.
    Of several processes that race with the same name exactly one gets True. StoreError if Delta refuses otherwise.
    """
    known = contract(table)
    actions: list[AddAction | RemoveAction] = [_action(file) for file in files]
    properties = CommitProperties(
        app_transactions=[Transaction(name, version) for name, version in transactions.items()],
        custom_metadata={"userMetadata": note} if note else None,
    )
    problem: Exception | None = None
    troubles = 0
    for attempt in range(_ATTEMPTS):
        opened = open_table(store, table) or _create(store, known)
        if any((opened.transaction_version(name) or 0) >= version for name, version in transactions.items()):
            return False
        try:
            opened.create_write_transaction(
                actions,
                mode="append",
                schema=Schema.from_arrow(known.schema),
                partition_by=list(known.partition_by),
                commit_properties=properties,
            )
        except CommitFailedError as error:
            # either the same transaction won elsewhere (the next look says so), or another write came in between
            problem = error
            time.sleep(min(0.02 * 2**attempt, 1.0) * random.uniform(0.5, 1.0))
        except (DeltaError, OSError) as error:
            troubles += 1
            if store.is_local or troubles > _TROUBLES:
                raise StoreError(f"Table {table} in {store.url} can't be written: {error}") from error
            problem = error  # S3 may have taken it and the answer got lost: the next look says
            _pause(troubles)
        else:
            return True
    raise StoreError(f"Table {table} in {store.url}: {_ATTEMPTS} attempts to commit failed; the last: {problem}")


def live_files(
    store: Store, table: str, *, stage_keys: Collection[str] | None = None, every_stage: bool = False
) -> list[DataFile]:
    """The files of the newest version whose rows readers may see, sorted by path: those of finished stages.

    `stage_keys` narrows them further; `every_stage` lifts the fence (for maintenance, never for readers). Tables that
    no stage fences (`stages`, `rounds`) give all files.
    """
    known = contract(table)
    allowed = finished_keys(store) if known.fenced and not every_stage else None
    if stage_keys is not None:
        allowed = set(stage_keys) if allowed is None else allowed & set(stage_keys)
    return [file for file in _files(store, table) if allowed is None or file.stage_key in allowed]


def finished_keys(store: Store) -> set[str]:
    """The keys of all stages that stand in `stages`."""
    return {file.stage_key for file in _files(store, "stages")}


def read(
    store: Store,
    table: str,
    *,
    stage_keys: Collection[str] | None = None,
    where: pc.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Rows of finished stages, in an order that doesn't depend on who wrote first (by partition, key and shard).

    `stage_keys` limits them to some stages (only those files are opened), `where` to a condition
    (`pyarrow.compute.field("split") == "test"`), `columns` to some columns. A table that doesn't exist yet is empty.
    Raises DataError for an unknown table, column or condition.
    """
    known = contract(table)
    if isinstance(stage_keys, str):
        raise TypeError("stage_keys is a collection of keys, not one key")
    unknown = [name for name in columns or () if name not in known.schema.names]
    if unknown:
        raise DataError(f"Table {table} has no column {unknown[0]!r}; it has {', '.join(known.schema.names)}.")
    files = live_files(store, table, stage_keys=stage_keys)
    return read_files(store, known, files, where=where, columns=columns)


def read_files(
    store: Store,
    known: TableContract,
    files: Sequence[DataFile],
    *,
    where: pc.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The rows of these files, in their order, with the contract's schema."""
    names = list(columns) if columns is not None else known.schema.names
    wanted = pa.schema([known.schema.field(name) for name in names])
    if not files:
        return wanted.empty_table()
    folder = store.path("tables", known.name)
    source = ds.dataset(
        [f"{folder}/{file.path}" for file in files],
        filesystem=store.fs,
        format="parquet",
        schema=known.schema,
        partitioning=ds.partitioning(pa.schema([known.schema.field(n) for n in known.partition_by]), flavor="hive"),
        partition_base_dir=folder,
    )
    try:
        rows = source.to_table(columns=names, filter=where, use_threads=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        raise DataError(f"Table {known.name}: the condition {where} can't be applied: {error}") from error
    except FileNotFoundError as error:
        raise StoreError(
            f"Table {known.name} in {store.url} has lost a file: {error}. Something else removed it."
        ) from error
    return rows.cast(wanted)


def _patiently(store: Store, call: Callable[[], DeltaTable]) -> DeltaTable:
    """What `call` gives, tried again where S3 fails: an answer that breaks off is nothing its client tries again."""
    for trouble in range(1, _TROUBLES + 1):
        try:
            return call()
        except TableNotFoundError:
            raise
        except (DeltaError, OSError):
            if store.is_local:
                raise
            _pause(trouble)
    return call()


def _pause(trouble: int) -> None:
    time.sleep(0.5 * 2**trouble * random.uniform(0.5, 1.0))


@dataclass(frozen=True)
class _Read:
    """A table as it was read, and the log's entry that made its version; None where there was no reading that one."""

    table: DeltaTable
    entry: bytes | None


def _newest(store: Store, table: str) -> _Read | None:
    """`open_table` for readers: a table that was read before is brought up to date, which takes three requests on S3,
    where its whole log takes one for each commit. (Commits start from the log: what they must not miss is in it.)"""
    before: _Read | None = store.opened.pop(table, None)  # no other thread has it meanwhile
    # a store that was put back from a copy has other entries, or none yet: then nothing of what was read holds
    if before is not None and before.entry is not None and before.entry == _last_entry(store, before.table, table):
        version = before.table.version()
        with suppress(DeltaError, OSError):  # else from the log, with the patience and the messages of a first time
            before.table.update_incremental()
            same = before.table.version() == version
            return before if same else _Read(before.table, _last_entry(store, before.table, table))
    opened = open_table(store, table)
    return None if opened is None else _Read(opened, _last_entry(store, opened, table))


def _last_entry(store: Store, opened: DeltaTable, table: str) -> bytes | None:
    try:
        return store.read_bytes(log_entry(table, opened.version()))
    except (StoreError, OSError):
        return None


def _files(store: Store, table: str) -> list[DataFile]:
    newest = _newest(store, table)
    if newest is None:
        return []
    known = contract(table)
    actions = pa.table(newest.table.get_add_actions(flatten=True)).to_pylist()
    store.opened[table] = newest
    files = [
        DataFile(
            table=table,
            path=action["path"],
            partition=tuple((name, str(action[f"partition.{name}"])) for name in known.partition_by),
            rows=int(action["num_records"]),
            size=int(action["size_bytes"]),
        )
        for action in actions
    ]
    return sorted(files, key=lambda file: file.path)


def _action(file: DataFile) -> AddAction:
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values=dict(file.partition),
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": file.rows}),
    )


def _create(store: Store, known: TableContract) -> DeltaTable:
    try:
        return DeltaTable.create(
            store.table_uri(known.name),
            schema=Schema.from_arrow(known.schema),
            mode="ignore",
            partition_by=list(known.partition_by),
            name=known.name,
            description=known.doc,
            storage_options=store.storage_options(),
        )
    except (DeltaError, OSError) as error:
        opened = open_table(store, known.name)  # another process may have been first
        if opened is None:
            raise StoreError(f"Table {known.name} in {store.url} can't be made: {error}") from error
        return opened
