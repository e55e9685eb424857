"""Rows of data files, in the form that the table's contract gives them."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from infra.data_files import DataFile
from infra.intact import LostFileError, check, lost_file, missing
from infra.node_copies import reading
from infra.store import Store
from schemas.errors import DataError
from schemas.tables import TableContract

_AT_ONCE: Final = 200
"""Files that Arrow reads at a time: it keeps the footers of all of them, which for ten thousand is half a gigabyte."""


def read_files(
    store: Store,
    table: TableContract,
    files: Sequence[DataFile],
    *,
    where: pc.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The rows of these files, in their order, with the contract's schema.

    Raises LostFileError, which names one, for files that are gone or damaged, and DataError for a condition that can't
    be applied.
    """
    names = list(columns) if columns is not None else table.schema.names
    wanted = pa.schema([table.schema.field(name) for name in names])
    if not files:
        return wanted.empty_table()
    check(store, files)
    folder = store.path("tables", table.name)
    partitioning = ds.partitioning(pa.schema([table.schema.field(n) for n in table.partition_by]), flavor="hive")
    parts = []
    try:
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            source = ds.dataset(
                [f"{folder}/{file.path}" for file in some],
                filesystem=reading(store, some, names),
                format="parquet",
                schema=table.schema,
                partitioning=partitioning,
                partition_base_dir=folder,
            )
            parts.append(source.to_table(columns=names, filter=where, use_threads=False))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        lost = lost_among(store, table, files)
        if lost is not None:
            raise lost from error
        raise DataError(f"Table {table.name}: the condition {where} can't be applied: {error}") from error
    except FileNotFoundError as error:
        raise lost_among(store, table, files) or lost_file(store, table.name, str(error)) from error
    return pa.concat_tables(parts).cast(wanted)


def lost_among(store: Store, table: TableContract, files: Sequence[DataFile]) -> LostFileError | None:
    """The error that names the first of the files that isn't there with its size; None if all are."""
    return next((lost_file(store, table.name, f"{file.path} {what}") for file, what in missing(store, files)), None)


def ascending(ids: pa.StringArray) -> pa.StringArray:
    """Ids sorted; the array itself where it is sorted already, as ids of a stage's files one after another are."""
    return ids if pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py() else ids.sort()
