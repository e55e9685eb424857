"""Tables as they are now: the newest version of each, kept from one look to the next, and the files that it has.

The files of a version are kept as an Arrow table, because a table may have thousands; only those that are asked for
become Python objects.
"""

import random
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from infra.data_files import KEY_PATTERN, DataFile, no_name_of_ours
from infra.delta_log import broken_files, log_entry, log_folder
from infra.evolution import check_form
from infra.intact import is_checked
from infra.store import Store
from schemas.errors import DamagedError, StoreError
from schemas.tables import TableContract, contract

TROUBLES = 3
"""Times that a table is tried again after S3 failed, beside the retries of the storage client itself."""

_NO_FILES = pa.schema(
    [("key", pa.string()), ("path", pa.string()), ("rows", pa.int64()), ("size", pa.int64())]
).empty_table()
_CURE = "`adhmr doctor --deep` says what else is damaged, `adhmr repair` mends what can be mended."


@dataclass(frozen=True)
class Snapshot:
    """A version of a table. `files` has the columns key, path, rows, size and the partition's, sorted by path."""

    contract: TableContract
    version: int
    files: pa.Table

    def rows_of(self, keys: Collection[str]) -> dict[str, int]:
        """How many rows each of these stages has in it; none for one that has no file."""
        summed = self._files_of(keys).group_by("key", use_threads=False).aggregate([("rows", "sum")])
        return dict(zip(summed.column("key").to_pylist(), summed.column("rows_sum").to_pylist(), strict=True))

    def of(self, keys: Collection[str] | None = None) -> list[DataFile]:
        """Its files, of some stages or all, sorted by path."""
        chosen = self.files if keys is None else self._files_of(keys)
        names = self.contract.partition_by
        return [
            DataFile(
                table=self.contract.name,
                path=row["path"],
                partition=tuple((name, str(row[f"partition.{name}"])) for name in names),
                rows=row["rows"],
                size=row["size"],
            )
            for row in chosen.to_pylist()
        ]

    def _files_of(self, keys: Collection[str]) -> pa.Table:
        wanted = pa.array(sorted(keys), pa.string())
        return self.files.filter(pc.is_in(self.files.column("key"), value_set=wanted))


@dataclass
class OpenTable:
    """A table as this process last read it. `entry` is the log's entry that made its version; None where there was no
    reading that one."""

    contract: TableContract
    table: DeltaTable
    entry: bytes | None
    snapshots: dict[int, Snapshot] = field(default_factory=dict)

    def transaction(self, name: str) -> int:
        """The version of an application transaction; 0 where there is none."""
        return self.table.transaction_version(name) or 0

    @property
    def snapshot(self) -> Snapshot:
        """The version that is open."""
        version = self.table.version()
        if version not in self.snapshots:
            self.snapshots = {version: Snapshot(self.contract, version, _files(self.contract, self.table))}
        return self.snapshots[version]


def open_table(store: Store, table: str) -> DeltaTable | None:
    """The table at its newest version, or None if nothing was ever written to it."""
    try:
        uri = store.uri("tables", table)
        opened = _patiently(store, lambda: DeltaTable(uri, storage_options=store.storage_options()))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise StoreError(
            f"Table {table} in {store.url} can't be opened: {_first_words(error)} If its log was damaged, "
            "`adhmr repair` mends what can be mended and says what can't."
        ) from error
    check_form(store, contract(table), opened)
    return opened


def newest(store: Store, table: str) -> Snapshot:
    """The newest version of the table; version -1, without files, if nothing was ever written to it."""
    opened = take_newest(store, table)
    if opened is None:
        return Snapshot(contract(table), -1, _NO_FILES)
    snapshot = opened.snapshot
    give_back(store, opened)
    return snapshot


def take_newest(store: Store, table: str) -> OpenTable | None:
    """The table at its newest version, for this thread alone until it is given back; None if there is none.

    A table that was read before is brought up to date, which takes three requests on S3, where its whole log takes one
    for each commit.
    """
    before: OpenTable | None = store.opened.pop(table, None)  # no other thread has it meanwhile
    # a store that was put back from a copy has other entries, or none yet: then nothing of what was read holds
    if before is not None and before.entry is not None and before.entry == _last_entry(store, before.table, table):
        version = before.table.version()
        with suppress(DeltaError, OSError):  # else from the log, with the patience and the messages of a first time
            before.table.update_incremental()
            if before.table.version() != version:
                _check_log(store, before.table, table, since=version)
                check_form(store, before.contract, before.table)
                before.entry = _last_entry(store, before.table, table)
            return before
    if before is not None:
        store.found_whole.clear()
    opened = open_table(store, table)
    if opened is None:
        return None
    _check_log(store, opened, table)
    return OpenTable(contract(table), opened, _last_entry(store, opened, table))


def give_back(store: Store, opened: OpenTable) -> None:
    """Keep a table for the next look."""
    store.opened[opened.contract.name] = opened


def pause(trouble: int) -> None:
    """Wait before S3 is tried again; the longer, the more often it failed."""
    time.sleep(0.5 * 2**trouble * random.uniform(0.5, 1.0))


def _patiently(store: Store, call: Callable[[], DeltaTable]) -> DeltaTable:
    """What `call` gives, tried again where it fails: on S3 an answer may break off, which is nothing its client tries
    again; on a disk a checkpoint may go while it is read, when many versions are made meanwhile."""
    for trouble in range(1, TROUBLES + 1):
        try:
            return call()
        except TableNotFoundError:
            raise
        except (DeltaError, OSError):
            if store.is_local:
                break
            pause(trouble)
    return call()


def _check_log(store: Store, opened: DeltaTable, table: str, since: int | None = None) -> None:
    """DamagedError unless what made this version (`since` an earlier one) is as it was written, where it is checked."""
    if not is_checked(store):
        return
    here = store.list_files(log_folder(table)) if since is None else []
    for path in broken_files(store, table, opened.version(), here, since):
        raise DamagedError(f"{store.uri(path)} is not as it was written. {_CURE}")


def _last_entry(store: Store, opened: DeltaTable, table: str) -> bytes | None:
    try:
        return store.read_bytes(log_entry(table, opened.version()))
    except (StoreError, OSError):
        return None


def _files(table: TableContract, opened: DeltaTable) -> pa.Table:
    """DamagedError where what the log says of a file does not go together."""
    try:
        actions = pa.table(opened.get_add_actions(flatten=True)).combine_chunks()
        columns: dict[str, Any] = {
            "path": actions.column("path").cast(pa.string()),
            "rows": actions.column("num_records").cast(pa.int64()),
            "size": actions.column("size_bytes"),
        }
        for name in table.partition_by:
            columns[f"partition.{name}"] = actions.column(f"partition.{name}")
        files = pa.table(columns).sort_by("path")
    except (DeltaError, OSError, KeyError, pa.ArrowException) as error:
        raise _damaged(table, opened, f"what it says of files can't be read: {_first_words(error)}") from error
    folders = pc.replace_substring_regex(files.column("path"), "[^/]*$", "")
    fits = pc.and_(pc.greater(files.column("rows"), 0), pc.equal(_folders(table, files), folders))
    strange = pc.index(pc.fill_null(fits, False), False).as_py()
    if strange >= 0:
        raise _damaged(table, opened, f"what it says of {files.column('path')[strange]} does not go together.")
    return files.add_column(0, "key", _keys(table, files.column("path").combine_chunks()))


def _folders(table: TableContract, files: pa.Table) -> pa.ChunkedArray:
    """The folder of each file, by the values of its partition."""
    values = [files.column(f"partition.{name}").cast(pa.string()) for name in table.partition_by]
    if not values:
        return pc.utf8_slice_codeunits(files.column("path"), 0, 0)
    named = [
        pc.binary_join_element_wise(f"{name}=", one, "/", "")
        for name, one in zip(table.partition_by, values, strict=True)
    ]
    return pc.binary_join_element_wise(*named, "")


def _damaged(table: TableContract, opened: DeltaTable, what: str) -> DamagedError:
    return DamagedError(f"The log of table {table.name} ({opened.table_uri}) is damaged: {what} {_CURE}")


def _keys(table: TableContract, path: pa.Array) -> pa.Array:
    keys = pc.extract_regex(path, KEY_PATTERN)
    strange = pc.index(pc.is_null(keys), True).as_py()
    if strange >= 0:
        raise no_name_of_ours(table.name, path[strange].as_py())
    return keys.field("key")


def _first_words(error: Exception) -> str:
    """deltalake's errors go on with a stack of unknowns."""
    return str(error).splitlines()[0].rstrip(".") + "."
