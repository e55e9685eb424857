"""What a reader sees of a store, without what differs between any two runs: times and places."""

import json

import pyarrow as pa
import pyarrow.compute as pc

from infra.store import Store
from infra.tables import read
from infra.views import query
from schemas.tables import TABLES

VARYING = {
    "stages": {"started_at", "finished_at", "seconds", "done_share"},
    "models": {"created_at", "uri"},
    "rounds": {"at"},
}


def visible(store: Store) -> dict[str, pa.Table]:
    """The rows of all tables that a reader may see."""
    return {table: rows(store, table) for table in TABLES}


def rows(store: Store, table: str) -> pa.Table:
    """All rows of a table that a reader may see."""
    names = [name for name in TABLES[table].schema.names if name not in VARYING.get(table, ())]
    found = read(store, table, columns=names)
    if table == "rounds":
        return found.sort_by([("campaign", "ascending"), ("sequence", "ascending")])
    if table != "stages":
        return found
    counts = [json.loads(text) for text in found.column("tables_json").to_pylist()]
    for tables in counts:
        tables.get("models", {}).pop("bytes", None)  # its file holds the path of the store
    texts = pa.array([json.dumps(tables) for tables in counts], pa.string())
    return found.drop_columns(["tables_json"]).append_column("tables", texts).sort_by("stage_key")


def different(one: dict[str, pa.Table], other: dict[str, pa.Table]) -> list[str]:
    """The tables that differ, with their numbers of rows."""
    return [
        f"{table}: {len(one[table])} rows and {len(other[table])}"
        for table in one
        if not one[table].equals(other[table])
    ]


def of_stages(rows: dict[str, pa.Table], keys: pa.Array | pa.ChunkedArray) -> dict[str, pa.Table]:
    """The rows that stages with these keys have written."""
    return {table: found.filter(pc.is_in(found.column("stage_key"), value_set=keys)) for table, found in rows.items()}


def counted(store: Store) -> dict[str, int]:
    """Rows of every table as DuckDB sees them, through the views."""
    asked = " UNION ALL ".join(f"SELECT '{table}' AS name, count(*) AS n FROM {table}" for table in TABLES)
    return {row["name"]: row["n"] for row in query(store, asked).to_pylist()}


def lasting_files(store: Store) -> dict[str, bytes | None]:
    """Files beside the tables that must be there whatever happened: bytes where they are a function of the work."""
    found: dict[str, bytes | None] = {}
    for path in store.list_files(""):
        folder, name = path.split("/")[0], path.rsplit("/", 1)[-1]
        if name.startswith(".tmp-") or folder not in ("checkpoints", "reports", "synthetic"):
            continue
        found[path] = store.read_bytes(path) if folder == "synthetic" and "/records/" not in path else None
    return found


def working_files(store: Store) -> list[str]:
    """Files that only unfinished work has a use for."""
    return [path for path in store.list_files("") if path.split("/")[0] in ("ray", "ingests", "leases")]
