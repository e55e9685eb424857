"""A store's table beside the contract that this engine has of it: stores live longer than releases.

A table may lack nullable columns of its contract. They are read as null, and the first write that brings rows adds
them, in a version of the table's own. In the same way a column may come to allow null. Any other change has to raise
the contract's version, which the Delta table's properties hold (absent: 1), and is refused with what to do.
"""

import time
import uuid
from typing import Final

from deltalake import DeltaTable, Schema

from infra.store import Store
from schemas.errors import StoreError
from schemas.tables import TableContract

VERSION: Final = "adhmr.version"
"""The property of a Delta table that holds the version of its contract."""
_ELSEWHERE: Final = "or work in another store (--store, ADHMR_STORE)."
_NEWER: Final = f"A newer engine wrote it: use that one, {_ELSEWHERE}"
_OTHER: Final = f"Go on with the version of the engine that wrote it, {_ELSEWHERE}"


def check_form(store: Store, table: TableContract, opened: DeltaTable) -> None:
    """StoreError, with what to do, unless the table can be read and written by its contract."""
    problem = _problem(table, opened)
    if problem:
        raise StoreError(f"Table {table.name} in {store.url} {problem}")


def is_behind(table: TableContract, opened: DeltaTable) -> bool:
    """Whether a table that can be read (`check_form`) lacks columns, or requires values, where its contract doesn't."""
    columns = {field.name: field.nullable for field in opened.schema().fields}
    return columns != {field.name: field.nullable for field in table.schema}


def metadata(table: TableContract, opened: DeltaTable | None = None) -> dict[str, object]:
    """What the log is to say of a table by its contract; one that is there keeps its identity and other properties."""
    before = opened.metadata() if opened is not None else None
    return {
        "id": str(before.id if before else uuid.uuid4()),
        "name": table.name,
        "description": table.doc,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": Schema.from_arrow(table.schema).to_json(),
        "partitionColumns": list(table.partition_by),
        "createdTime": before.created_time if before else int(time.time() * 1000),
        "configuration": {**(before.configuration if before else {}), VERSION: str(table.version)},
    }


def _problem(table: TableContract, opened: DeltaTable) -> str:
    """What this engine can't deal with, and what to do; "" if there is nothing."""
    about = opened.metadata()
    version = about.configuration.get(VERSION, "1")
    if version != str(table.version):
        newer = version.isdigit() and int(version) > table.version
        return f"has version {version}, and this engine knows {table.version}. {_NEWER if newer else _OTHER}"
    columns = {field.name: field for field in opened.schema().fields}
    unknown = sorted(columns.keys() - set(table.schema.names))
    if unknown:
        return f"has columns that this engine does not know ({', '.join(unknown)}). {_NEWER}"
    if about.partition_columns != list(table.partition_by):
        return f"is partitioned by other columns than this engine knows. {_OTHER}"
    for field in Schema.from_arrow(table.schema).fields:
        column = columns.get(field.name)
        if column is None and not field.nullable:
            return f"lacks the column {field.name}, without which this engine can't read it. {_OTHER}"
        if column is not None and (column.type != field.type or (column.nullable and not field.nullable)):
            kinds = [f"{one.type.to_json()}{' or null' if one.nullable else ''}" for one in (column, field)]
            return f"has {kinds[0]} in the column {field.name}, and this engine needs {kinds[1]}. {_OTHER}"
    return ""
