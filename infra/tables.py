"""Delta tables of a store: the files and the rows of finished stages.

Reading takes the list of finished stages first and the table's files after it: a stage of that list had been added
to its tables before, so the two fit together whatever is written meanwhile.
"""

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from infra.data_files import MANY, DataFile
from infra.snapshots import newest
from infra.store import Store
from infra.table_rows import read_files
from infra.whole import lacks_rows, readable_keys, stage_rows
from schemas.errors import DataError
from schemas.tables import contract


def live_files(
    store: Store, table: str, *, stage_keys: Collection[str] | None = None, every_stage: bool = False
) -> list[DataFile]:
    """The files of the newest version whose rows readers may see, sorted by path: those of stages that are finished and
    whole.

    `stage_keys` narrows them further, and raises StoreError for a finished stage that isn't whole; without, such stages
    are left out, which is said once. `every_stage` lifts the fence (for maintenance, never for readers). Of tables that
    no stage fences (`stages`, `rounds`) all files are given, with `stage_keys` those that may hold rows of these.
    """
    if contract(table).fenced and not every_stage:
        return _of_readable_stages(store, table, stage_keys)
    files = newest(store, table).of(None if stage_keys is None else {*stage_keys, MANY})
    if table != "stages" or every_stage:
        return files
    unreadable = set(stage_rows(store).unreadable)
    return [file for file in files if file not in unreadable]


def _of_readable_stages(store: Store, table: str, stage_keys: Collection[str] | None) -> list[DataFile]:
    readable = readable_keys(store, table, stage_keys)
    snapshot = newest(store, table)
    if lacks_rows(store, table, snapshot.rows_of(readable), readable):
        readable = readable_keys(store, table, stage_keys)
    return snapshot.of(readable)


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
    Raises DataError for an unknown table, column or condition, StoreError for rows that were lost.
    """
    form = contract(table)
    if isinstance(stage_keys, str):
        raise TypeError("stage_keys is a collection of keys, not one key")
    unknown = [name for name in columns or () if name not in form.schema.names]
    if unknown:
        raise DataError(f"Table {table} has no column {unknown[0]!r}; it has {', '.join(form.schema.names)}.")
    files = live_files(store, table, stage_keys=stage_keys)
    if not form.fenced:
        where = _of_these(store, table, stage_keys, where)
    return read_files(store, form, files, where=where, columns=columns)


def _of_these(
    store: Store, table: str, stage_keys: Collection[str] | None, where: pc.Expression | None
) -> pc.Expression | None:
    """`where`, and the stages that a reader may see rows of: files of unfenced tables hold those of many."""
    wanted: pc.Expression | None = None
    if stage_keys is not None:
        wanted = pc.field("stage_key").isin(sorted(stage_keys))
    elif table == "stages":
        torn = stage_rows(store).keys - readable_keys(store, table)
        wanted = ~pc.field("stage_key").isin(sorted(torn)) if torn else None
    if wanted is None or where is None:
        return where if wanted is None else wanted
    return wanted & where
