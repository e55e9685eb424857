"""Delta tables of a store: the files and the rows of finished stages.

Reading takes the list of finished stages first and the table's files after it: a stage of that list had been added
to its tables before, so the two fit together whatever is written meanwhile.
"""

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from infra.data_files import MANY, DataFile
from infra.snapshots import Snapshot, newest
from infra.store import Store
from infra.table_rows import ascending, read_files
from infra.whole import lacks_rows, readable_keys, stage_rows
from schemas.errors import DataError
from schemas.tables import TableContract, contract


def live_files(
    store: Store,
    table: str,
    *,
    stage_keys: Collection[str] | None = None,
    ids: Collection[str] | None = None,
    every_stage: bool = False,
) -> list[DataFile]:
    """The files of the newest version whose rows readers may see, sorted by path: those of stages that are finished and
    whole.

    `stage_keys` narrows them further, and raises StoreError for a finished stage that isn't whole; without, such stages
    are left out, which is said once. `ids` leaves files out that can't hold a row about any of these. `every_stage`
    lifts the fence (for maintenance, never for readers). Of tables that no stage fences (`stages`, `rounds`) all files
    are given, with `stage_keys` those that may hold rows of these.
    """
    if contract(table).fenced and not every_stage:
        fenced, readable = _readable(store, table, stage_keys)
        return fenced.of(readable, ids)
    snapshot = newest(store, table)
    files = list(snapshot.all) if stage_keys is None else snapshot.of({*stage_keys, MANY}, ids)
    if table != "stages" or every_stage:
        return files
    unreadable = set(stage_rows(store).unreadable)
    return [file for file in files if file not in unreadable]


def live_files_of_each(
    store: Store, table: str, groups: Sequence[Collection[str]], *, stage_keys: Collection[str]
) -> list[list[DataFile]]:
    """`live_files` for each of these groups of ids, of a table that stages fence: for all of them the table is looked
    up once, which on S3 is several requests."""
    snapshot, readable = _readable(store, table, stage_keys)
    return [snapshot.of(readable, ids) for ids in groups]


def _readable(store: Store, table: str, stage_keys: Collection[str] | None) -> tuple[Snapshot, set[str]]:
    """The newest version of a table, and the stages whose rows of it readers may see."""
    readable = readable_keys(store, table, stage_keys)
    snapshot = newest(store, table)
    if lacks_rows(store, table, snapshot.rows_of(readable), readable):
        readable = readable_keys(store, table, stage_keys)
    return snapshot, readable


def read(
    store: Store,
    table: str,
    *,
    stage_keys: Collection[str] | None = None,
    ids: Collection[str] | None = None,
    where: pc.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Rows of finished stages, in an order that doesn't depend on who wrote first (by partition, key and shard).

    `stage_keys` limits them to some stages and `ids` to some people (in `images` to pictures, in `failures` to units):
    only files that may hold such rows are opened. `where` limits them to a condition
    (`pyarrow.compute.field("split") == "test"`), `columns` to some columns. A table that doesn't exist yet is empty.
    Raises DataError for an unknown table, column or condition, StoreError for rows that were lost.
    """
    form = contract(table)
    for name, given in (("stage_keys", stage_keys), ("ids", ids)):
        if isinstance(given, str):
            raise TypeError(f"{name} is a collection, not one text")
    unknown = [name for name in columns or () if name not in form.schema.names]
    if unknown:
        raise DataError(f"Table {table} has no column {unknown[0]!r}; it has {', '.join(form.schema.names)}.")
    if ids is not None:
        where = _about(form, ids) if where is None else _about(form, ids) & where
    files = live_files(store, table, stage_keys=stage_keys, ids=ids)
    if not form.fenced:
        where = _of_these(store, table, stage_keys, where)
    return read_files(store, form, files, where=where, columns=columns)


def read_ids(
    store: Store, table: str, *, stage_keys: Collection[str], where: pc.Expression | None = None
) -> pa.StringArray:
    """Whom the rows of some stages are about, each once, sorted; what it takes of memory is the answer and a file."""
    form = contract(table)
    unit = _unit(form)
    found = [pa.array([], pa.string())]
    for file in live_files(store, table, stage_keys=stage_keys):
        found.append(pc.unique(read_files(store, form, [file], where=where, columns=[unit]).column(unit)))
    ids = ascending(pa.concat_arrays(found))
    again = pc.equal(ids[1:], ids[:-1])
    return pc.unique(ids) if pc.any(again).as_py() else ids


def keys_about(store: Store, table: str, beginning: str) -> set[str]:
    """The stages that have rows about people of whom the ids begin so, as far as readers may see them.

    The log tells it by the bounds of its files' ids. Files are opened where it doesn't: where one reaches from ids
    before these to ids after them, or is of an older version.
    """
    form = contract(table)
    snapshot, readable = _readable(store, table, None)
    keys, unknown = snapshot.about(beginning)
    begins = pc.starts_with(pc.field(_unit(form)), pattern=beginning)
    dataset = beginning.partition("/")[0]
    for file in unknown:
        fits = dict(file.partition).get("dataset", dataset) == dataset
        if not fits or file.stage_key in keys or file.stage_key not in readable:
            continue
        if len(read_files(store, form, [file], where=begins, columns=[_unit(form)])):
            keys.add(file.stage_key)
    return keys & readable


def _about(form: TableContract, ids: Collection[str]) -> pc.Expression:
    """Rows about these. Of files that say nothing of their ids, Arrow skips by bounds and data set what it can."""
    unit = pc.field(_unit(form))
    if not ids:
        return pc.scalar(False)
    wanted = (unit >= min(ids)) & (unit <= max(ids)) & unit.isin(list(ids))
    if "dataset" in form.partition_by:
        wanted &= pc.field("dataset").isin(sorted({name.partition("/")[0] for name in ids}))
    return wanted


def _unit(form: TableContract) -> str:
    if form.unit is None:
        raise DataError(f"The rows of table {form.name} are about nobody whose id could be asked for.")
    return form.unit


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
