"""Tables as they are now: the newest version of each, kept from one look to the next, and the files that it has.

The files of a version are kept as an Arrow table, because a table may have many thousands; only those that are asked
for become Python objects. They are found by stage, and among a stage's by the ids that they may hold, so that a look
costs what it finds: what goes over all files is done once for each version.
"""

import random
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from infra.data_files import KEY_PATTERN, DataFile, IdRange, no_name_of_ours
from infra.delta_log import broken_files, log_entry, log_folder
from infra.evolution import check_form
from infra.file_ranges import FileRanges
from infra.intact import is_checked
from infra.store import FileState, Store
from schemas.errors import DamagedError, StoreError
from schemas.tables import TableContract, contract

TROUBLES = 3
"""Times that a table is tried again; on S3 beside the retries of the storage client itself."""

_NO_FILES = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("rows", pa.int64()),
        ("size", pa.int64()),
        ("low", pa.string()),
        ("high", pa.string()),
    ]
).empty_table()
_CURE = "`adhmr doctor --deep` says what else is damaged, `adhmr repair` mends what can be mended."


class _FilesOfStage(NamedTuple):
    """Places of a snapshot's files, from `start` to before `stop`, and how many rows these have."""

    start: int
    stop: int
    rows: int


@dataclass(frozen=True)
class Snapshot:
    """A version of a table. `files` has the columns key, path, rows, size, low, high and the partition's, sorted by
    key, then by low, nulls last."""

    contract: TableContract
    version: int
    files: pa.Table
    _ranges: dict[str, FileRanges] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def all(self) -> tuple[DataFile, ...]:
        """Its files, sorted by path."""
        return tuple(self._at(range(len(self.files))))

    def rows_of(self, keys: Iterable[str]) -> dict[str, int]:
        """How many rows each of these stages has in it; none for one that has no file."""
        return {key: self._stages[key].rows for key in keys if key in self._stages}

    def of(self, keys: Iterable[str], ids: Collection[str] | None = None) -> list[DataFile]:
        """Its files of some stages, sorted by path: all, or those that may hold rows of some `ids`."""
        wanted = None if ids is None else sorted(set(ids))
        places: list[int] = []
        for key in set(keys) & self._stages.keys():
            start, stop, _ = self._stages[key]
            if wanted is None:
                places += range(start, stop)
            else:
                places += [start + place for place in self._ranges_of(key).may_hold(wanted)]
        return self._at(places)

    def about(self, beginning: str) -> tuple[set[str], list[DataFile]]:
        """The stages that have rows about ids which begin so, as bounds of files tell; and files that may hold such
        rows, too, of which they don't."""
        low, high = (self.files.column(name) for name in ("low", "high"))
        sure = pc.fill_null(pc.or_(pc.starts_with(low, beginning), pc.starts_with(high, beginning)), False)
        perhaps = pc.fill_null(pc.and_(pc.less(low, beginning), pc.greater(high, beginning)), True)
        unknown = pc.and_(perhaps, pc.invert(sure)).to_numpy()
        keys: list[str] = pc.unique(self.files.column("key").filter(sure)).to_pylist()
        return set(keys), self._at(np.flatnonzero(unknown).tolist())

    @cached_property
    def _stages(self) -> dict[str, _FilesOfStage]:
        keys = self.files.column("key").combine_chunks().dictionary_encode()
        if len(keys) == 0:
            return {}
        starts = np.flatnonzero(np.diff(keys.indices.to_numpy(), prepend=-1)).tolist()
        rows = np.add.reduceat(self.files.column("rows").to_numpy(), starts).tolist()
        stops = [*starts[1:], len(keys)]
        return dict(zip(keys.dictionary.to_pylist(), map(_FilesOfStage, starts, stops, rows), strict=True))

    def _ranges_of(self, key: str) -> FileRanges:
        if key not in self._ranges:
            start, stop, _ = self._stages[key]
            lows, highs = (self.files.column(name)[start:stop].to_pylist() for name in ("low", "high"))
            self._ranges[key] = FileRanges([_range(*bounds) for bounds in zip(lows, highs, strict=True)])
        return self._ranges[key]

    def _at(self, places: Collection[int]) -> list[DataFile]:
        if not places:
            return []
        chosen = self.files if len(places) == len(self.files) else self.files.take(pa.array(places, pa.int64()))
        names = self.contract.partition_by
        found = [
            DataFile(
                table=self.contract.name,
                path=row["path"],
                partition=tuple((name, str(row[f"partition.{name}"])) for name in names),
                rows=row["rows"],
                size=row["size"],
                ids=_range(row["low"], row["high"]),
            )
            for row in chosen.to_pylist()
        ]
        return sorted(found, key=lambda file: file.path)


def _range(low: str | None, high: str | None) -> IdRange | None:
    return None if low is None or high is None else IdRange(low, high)


@dataclass
class OpenTable:
    """A table as this process last read it. `entry` tells the log's entry that made its version from any other
    (`Store.state`); None where there was no looking at that one."""

    contract: TableContract
    table: DeltaTable
    entry: FileState | None
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
    for each commit. No entry is read for that, as one may name many thousands of files.
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
            if not store.is_local:
                pause(trouble)
    return call()


def _check_log(store: Store, opened: DeltaTable, table: str, since: int | None = None) -> None:
    """DamagedError unless what made this version (`since` an earlier one) is as it was written, where it is checked."""
    if not is_checked(store):
        return
    here = store.list_files(log_folder(table)) if since is None else []
    for path in broken_files(store, table, opened.version(), here, since):
        raise DamagedError(f"{store.uri(path)} is not as it was written. {_CURE}")


def _last_entry(store: Store, opened: DeltaTable, table: str) -> FileState | None:
    try:
        return store.state(log_entry(table, opened.version()))
    except OSError:
        return None


def _files(table: TableContract, opened: DeltaTable) -> pa.Table:
    """DamagedError where what the log says of a file does not go together."""
    try:
        actions = pa.table(opened.get_add_actions(flatten=True)).combine_chunks()
        columns: dict[str, Any] = {
            "path": actions.column("path").cast(pa.string()),
            "rows": actions.column("num_records").cast(pa.int64()),
            "size": actions.column("size_bytes"),
            **_bounds(table, actions),
        }
        for name in table.partition_by:
            columns[f"partition.{name}"] = actions.column(f"partition.{name}")
        files = pa.table(columns)
    except (DeltaError, OSError, KeyError, pa.ArrowException) as error:
        raise _damaged(table, opened, f"what it says of files can't be read: {_first_words(error)}") from error
    folders = pc.replace_substring_regex(files.column("path"), "[^/]*$", "")
    fits = pc.and_(pc.greater(files.column("rows"), 0), pc.equal(_folders(table, files), folders))
    in_order = pc.fill_null(pc.less_equal(files.column("low"), files.column("high")), True)
    strange = pc.index(pc.and_(pc.fill_null(fits, False), in_order), False).as_py()
    if strange >= 0:
        raise _damaged(table, opened, f"what it says of {files.column('path')[strange]} does not go together.")
    files = files.add_column(0, "key", _keys(table, files.column("path").combine_chunks()))
    return files.sort_by([("key", "ascending"), ("low", "ascending"), ("path", "ascending")])


def _bounds(table: TableContract, actions: pa.Table) -> dict[str, Any]:
    """The least and the greatest id of each file; null where one isn't known, as in logs of older versions."""
    names = [f"{end}.{table.unit}" for end in ("min", "max")]
    if not set(names) <= set(actions.column_names):
        nothing = pa.nulls(len(actions), pa.string())
        return {"low": nothing, "high": nothing}
    low, high = (actions.column(name).cast(pa.string()) for name in names)
    known = pc.and_(pc.is_valid(low), pc.is_valid(high))
    nothing = pa.scalar(None, pa.string())
    return {"low": pc.if_else(known, low, nothing), "high": pc.if_else(known, high, nothing)}


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
