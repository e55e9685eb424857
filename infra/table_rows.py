"""Rows of data files, in the form that the table's contract gives them."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from infra.data_files import DataFile
from infra.store import Store
from schemas.errors import DataError, StoreError
from schemas.tables import TableContract


class LostFileError(StoreError):
    """A file that a table refers to is not there, or not as it was written."""


def read_files(
    store: Store,
    known: TableContract,
    files: Sequence[DataFile],
    *,
    where: pc.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The rows of these files, in their order, with the contract's schema.

    Raises LostFileError, which names one, for files that are gone or damaged, and DataError for a condition that can't
    be applied.
    """
    names = list(columns) if columns is not None else known.schema.names
    wanted = pa.schema([known.schema.field(name) for name in names])
    if not files:
        return wanted.empty_table()
    folder = store.path("tables", known.name)
    try:
        source = ds.dataset(
            [f"{folder}/{file.path}" for file in files],
            filesystem=store.fs,
            format="parquet",
            schema=known.schema,
            partitioning=ds.partitioning(pa.schema([known.schema.field(n) for n in known.partition_by]), flavor="hive"),
            partition_base_dir=folder,
        )
        rows = source.to_table(columns=names, filter=where, use_threads=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        lost = lost_file(store, known, files)
        if lost is not None:
            raise lost from error
        raise DataError(f"Table {known.name}: the condition {where} can't be applied: {error}") from error
    except FileNotFoundError as error:
        raise lost_file(store, known, files) or _lost_file(store, known, str(error)) from error
    return rows.cast(wanted)


def lost_file(store: Store, known: TableContract, files: Sequence[DataFile]) -> LostFileError | None:
    """The error that names the first of the files that isn't there with its size; None if all are."""
    what = _lost(store, files)
    return _lost_file(store, known, what) if what else None


def _lost_file(store: Store, known: TableContract, what: str) -> LostFileError:
    return LostFileError(
        f"Table {known.name} in {store.url} has lost a file: {what}. Something else removed or changed it, or the "
        "power failed. `adhmr repair` says what can be done; a run that meets the stage that wrote it does it again."
    )


def _lost(store: Store, files: Sequence[DataFile]) -> str:
    """The first of the files that isn't there with its size; "" if all are."""
    sizes = store.sizes([file.name for file in files])
    for file in files:
        size = sizes.get(file.name)
        if size is None:
            return f"{file.path} is not there"
        if size != file.size:
            return f"{file.path} has {size} bytes instead of {file.size}"
    return ""
