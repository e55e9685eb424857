"""Rows of tables that are larger than memory, some files at a time."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from infra.data_files import DataFile
from infra.store import Store
from infra.table_rows import read_files
from infra.tables import live_files
from schemas.tables import contract

_ROWS: Final = 16384


def read_pieces(
    store: Store,
    table: str,
    stage_keys: Collection[str],
    *,
    columns: Sequence[str],
    where: pc.Expression | None = None,
) -> Iterator[pa.Table]:
    """What `infra.tables.read` gives of these stages, in its order, some thousand rows at a time."""
    for files in together(live_files(store, table, stage_keys=stage_keys), _ROWS):
        yield read_files(store, contract(table), files, where=where, columns=columns)


def together(files: Sequence[DataFile], rows: int) -> Iterator[list[DataFile]]:
    """The files in their order, in groups of so many rows at most, or of one file."""
    group: list[DataFile] = []
    for file in files:
        if group and sum(one.rows for one in group) + file.rows > rows:
            yield group
            group = []
        group.append(file)
    if group:
        yield group
