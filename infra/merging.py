"""The tables that no stage fences (`stages`, `rounds`, `reviews`) in few files: each row comes as a file of its own,
and every few rows the small files are merged into one, so that a history of a thousand rounds is read as fast as one
of ten.

Nothing is removed: the small files stay on the disk, for readers of the version before, until a vacuum. The writer who
adds a row does it, once its own row is committed; killed anywhere, it leaves either version, and perhaps a file that no
version knows.
"""

import logging
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from infra import faults
from infra.data_files import MANY, DataFile, fresh_file_name
from infra.delta_log import Entry
from infra.intact import damage_once, is_checked, missing
from infra.shards import parquet_bytes
from infra.snapshots import OpenTable, newest
from infra.store import Store
from infra.table_rows import read_files
from infra.versions import write_version
from schemas.errors import EngineError
from schemas.tables import contract

log = logging.getLogger(__name__)

ORDER = {"stages": ("stage_key",), "rounds": ("campaign", "sequence"), "reviews": ("reviewer", "sequence")}
"""The tables whose files are merged, and how rows are sorted in a merged file."""
MERGED_FROM = 8
"""Small files that are merged as soon as there are so many."""
FULL_ROWS = 4096
"""A file with so many rows is not small any more: no row is copied for ever."""
_GROUP_ROWS = 512
"""Rows that a reader who wants one of them opens together."""


def merge_if_due(store: Store, table: str) -> bool:
    """Merge the table's small files if there are enough of them; whether that was done.

    What was written before stays valid, whatever happens here.
    """
    try:
        return _merge(store, table)
    except (DeltaError, OSError, EngineError):
        log.debug("The files of %s were not merged", table, exc_info=True)
        return False


def withdraw_row(store: Store, stage_key: str, file: DataFile) -> bool:
    """Take the row of a stage out of the file of `stages` that holds it, so that it can be committed again.

    False if it isn't in that file any more: look again.
    """
    if file.stage_key == MANY:
        rows = read_files(store, contract("stages"), [file])
        rest = [_write(store, "stages", rows.filter(pc.not_equal(rows.column("stage_key"), stage_key)))]
    else:
        rest = []

    def follow(opened: OpenTable) -> Entry | None:
        if file not in opened.snapshot.of([file.stage_key]):
            return None
        return Entry(rest, [file], {stage_key: 0}, note=f"withdraws {stage_key[:12]}")

    written = write_version(store, "stages", follow)
    if not written:
        for one in rest:
            store.remove(one.name)
    return written


def _merge(store: Store, table: str) -> bool:
    snapshot = newest(store, table)
    if len(snapshot.files) < MERGED_FROM:
        return False
    small = [file for file in snapshot.all if file.rows < FULL_ROWS]
    if len(small) < MERGED_FROM:
        return False
    readable = _readable(store, small)
    if len(readable) < MERGED_FROM:
        return False
    rows = read_files(store, contract(table), readable)
    merged = _write(store, table, rows.sort_by([(name, "ascending") for name in ORDER[table]]))
    faults.reach(f"merge:{table}")

    def follow(opened: OpenTable) -> Entry | None:
        if not set(readable) <= set(opened.snapshot.all):
            return None  # another writer merged them, or took a row away
        return Entry([merged], readable, note=f"merges {len(readable)} files", moves=True)

    written = write_version(store, table, follow)
    if not written:
        store.remove(merged.name)
    return written


def _readable(store: Store, files: Sequence[DataFile]) -> list[DataFile]:
    """Those that are there as they were written; what became of the others is for `infra.repair`."""
    lost = {file for file, _ in missing(store, files)}
    return [file for file in files if file not in lost and not (is_checked(store) and damage_once(store, file))]


def _write(store: Store, table: str, rows: pa.Table) -> DataFile:
    statistics = list(ORDER[table])
    data = parquet_bytes(rows.combine_chunks(), row_group_size=_GROUP_ROWS, write_statistics=statistics)
    path = fresh_file_name(MANY, data)
    file = DataFile(table, path, (), len(rows), len(data))
    store.atomic_write(file.name, data)
    return file
