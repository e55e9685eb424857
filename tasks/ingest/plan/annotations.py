"""The plan of an ingest of annotations: which rows become which units, cut into files that workers read one at a time.

A source may have a million people, so nothing here holds them all but as ids: readers' rows go to a file on disk,
DuckDB numbers, compares and sorts them there, and what comes out is written as one small file for each shard
(`plan.rows`).
"""

# as text: DuckDB complains at the end of a process of types that an annotation holds
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from infra.store import Store
from schemas.errors import DataError
from tasks.ingest.people.annotations import ANNOTATIONS, Reader
from tasks.ingest.people.worker import GONE
from tasks.ingest.plan.rows import Plan, plan_rows
from tasks.ingest.source.folder import Folder, PicturePlace, RefusedError, is_picture, key_of
from tasks.ingest.source.spellings import blanks_refused, spellings

_PLACES = ("row", "origin", "counts_as")
"""Columns that say where a row is in its file, and nothing of the person in it."""
_LATER = frozenset({"box_relative", "box_per_joints", "left_hand_pca", "right_hand_pca"})
"""Columns that came later: rows in which they are null are the same as before."""
_OURS = (("key", pa.string()), ("content", pa.string()))
_ROWS_IN_GROUP = 5000
_MEMORY = "1GB"


def plan(
    store: Store,
    folder: str,
    reader: Reader,
    pictures: Callable[[], pa.Table],
    before: pa.Table,
    shard_size: int,
    images: str = "",
) -> Plan:
    """Write the units of a source to `folder` of the store, or find them written.

    `before` is what needs no work again, of earlier ingests of the same split: `id`, `source_digest` and `was_good` of
    people who became instances and of rows that were refused (those without a digest are tried again). `pictures` is
    asked after the rows were read, because reading may make them (`picture_states`). `images` is their folder, which
    paths may begin with.

    The facts: `unchanged` counts rows that an earlier ingest did, which are not among the units; `gone` people that an
    earlier one had and the source has no more, who are; `remark` is what a user should know, or None. DataError for a
    source that can't be used as a whole, and for one without a row.
    """
    facts: dict[str, Any] = {}
    read = partial(_units, reader, pictures, before, images, facts)
    return plan_rows(store, folder, shard_size, read, facts.copy)


def _units(
    reader: Reader, pictures: Callable[[], pa.Table], before: pa.Table, images: str, facts: dict[str, Any]
) -> Iterator[pa.Table]:
    """The units sorted by their ids; the facts of the plan go into `facts`."""
    source, rows, units = reader.source, reader.work / "rows.parquet", reader.work / "units.parquet"
    if not _write_rows(reader, rows, images):
        raise DataError(f"{source.url} has no row: it holds no person to ingest.")
    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(reader.work), "threads": 2}) as database:
        states = pictures()
        database.register("states", states)
        database.register("before", before)
        facts["remark"] = _register_spellings(database, rows, states)
        prefix = f"{source.dataset}/{source.split}/"
        database.execute(_NAMED, {"rows": str(rows), "every": source.every, "prefix": prefix})
        facts["unchanged"] = _count(database, "SELECT count(*) FROM named WHERE unchanged")
        gone = "SELECT count(*) FROM before ANTI JOIN named ON before.id = named.id WHERE was_good"
        facts["gone"] = _count(database, gone)
        to = str(units).replace("'", "''")
        database.execute(f"COPY ({_UNITS}) TO '{to}' (FORMAT parquet, ROW_GROUP_SIZE {_ROWS_IN_GROUP})")
    with pq.ParquetFile(units) as file:
        yield from (pa.Table.from_batches([batch]) for batch in file.iter_batches(batch_size=_ROWS_IN_GROUP))


_NAMED = """
CREATE TABLE named AS
WITH taken AS (
    SELECT listed.* REPLACE (
        coalesce(spelled.meant, listed.key) AS key,
        coalesce(listed.reason, spelled.reason) AS reason,
        CASE WHEN listed.reason IS NULL AND spelled.reason IS NOT NULL THEN spelled.detail ELSE listed.detail END
            AS detail
    ) FROM read_parquet($rows) AS listed LEFT JOIN spelled ON listed.path = spelled.path
    WHERE counts_as % $every = 0
), ranked AS (
    SELECT *, reason IS NULL AS good, row_number() OVER alike AS time, first_value(origin) OVER alike AS original
    FROM taken
    WINDOW alike AS (PARTITION BY reason IS NULL, key, person, CASE WHEN person IS NULL THEN content END ORDER BY row)
), judged AS (
    SELECT * REPLACE (
        good AND time = 1 AS good,
        CASE WHEN good AND time > 1 THEN 'duplicate id' ELSE reason END AS reason,
        CASE WHEN good AND time > 1 THEN 'the same person as ' || original || ', which stands' ELSE detail END AS detail
    ) FROM ranked
), numbered AS (
    SELECT *, CASE WHEN good THEN
        coalesce(person, CAST(row_number() OVER (PARTITION BY good, key, person IS NULL ORDER BY row) - 1 AS INTEGER))
    END AS number
    FROM judged
), named AS (
    SELECT numbered.*,
        CASE WHEN good THEN $prefix || key || '#' || number
             WHEN origin = '' AND count(*) OVER (PARTITION BY good, origin, left(path, 300)) = 1
             THEN $prefix || left(path, 300)
             ELSE $prefix || coalesce(key, left(path, 300), '?') || ' (row ' || row || ')' END AS id,
        md5(content || '|' || coalesce(reason, '') || '|' || coalesce(state, 'absent')) AS source_digest
    FROM numbered LEFT JOIN states USING (key)
)
SELECT named.*, coalesce(before.source_digest = named.source_digest, false) AS unchanged,
    good AND row_number() OVER (PARTITION BY key, good ORDER BY named.id) = 1 AS first
FROM named LEFT JOIN before ON named.id = before.id
"""
# A row that is gone, good or bad, is a unit too, so that the counts add up and later readers know.
_UNITS = f"""
SELECT * FROM (
    SELECT * EXCLUDE (good, time, original, unchanged, content) FROM named WHERE NOT unchanged
    UNION ALL BY NAME
    SELECT id, -1 AS row, 0 AS counts_as, '' AS origin, 'box' AS crop_rule, 1.0 AS crop_scale,
        '{GONE}' AS reason, 'an earlier ingest of this split had it' AS detail, false AS first
    FROM before ANTI JOIN named ON before.id = named.id
) ORDER BY id
"""


_SPELLED: Final = pa.schema([(name, pa.string()) for name in ("path", "meant", "reason", "detail")])
_BLANKS = """
SELECT DISTINCT path FROM read_parquet($rows) AS listed JOIN states ON listed.path = states.key
WHERE listed.key <> listed.path
"""
_NOT_THERE = """
SELECT DISTINCT path, key FROM read_parquet($rows) ANTI JOIN states USING (key)
WHERE key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM states WHERE states.key = path)
"""


def _register_spellings(database: duckdb.DuckDBPyConnection, rows: Path, states: pa.Table) -> str | None:
    """The table `spelled`: paths that mean a picture with another spelling, or none that is clear. Gives a remark."""
    missing = dict(database.execute(_NOT_THERE, {"rows": str(rows)}).fetchall())
    names = chain.from_iterable(chunk.to_pylist() for chunk in states.column("key").chunks)
    alike = spellings(missing.values(), names)
    respelled: list[dict[str, str]] = []
    for path, key in missing.items():
        meant = alike.of(key)
        if isinstance(meant, RefusedError):
            respelled.append({"path": path, "reason": meant.reason, "detail": meant.detail})
        elif meant != key:
            respelled.append({"path": path, "meant": meant})
    for (path,) in database.execute(_BLANKS, {"rows": str(rows)}).fetchall():
        refusal = blanks_refused(path)
        respelled.append({"path": path, "reason": refusal.reason, "detail": refusal.detail})
    database.register("spelled", pa.Table.from_pylist(respelled, _SPELLED))
    return alike.in_words()


def _write_rows(reader: Reader, path: Path, images: str) -> int:
    """Writes the reader's rows with their keys and what distinguishes them; gives their number."""
    schema = pa.schema([*ANNOTATIONS, *(pa.field(name, kind) for name, kind in _OURS)])
    shown = PicturePlace(images, *reader.source.target)
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in reader.batches():
            table = pa.Table.from_batches([batch])
            contents = _contents(table)
            keys, reasons, details = _keys(shown, table)
            for name, values in (("reason", reasons), ("detail", details)):
                table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
            table = table.append_column("key", pa.array(keys, pa.string()))
            writer.write_table(table.append_column("content", pa.array(contents, pa.string())).cast(schema))
            rows += len(table)
    return rows


def _contents(table: pa.Table) -> list[str]:
    """A digest of each row's person: equal for rows that say the same of the same picture."""
    people = (
        sorted(item for item in row.items() if item[1] is not None or item[0] not in _LATER)
        for row in table.drop_columns(list(_PLACES)).to_pylist()
    )
    return [hashlib.md5(repr(row).encode(), usedforsecurity=False).hexdigest() for row in people]


def _keys(source: PicturePlace, table: pa.Table) -> tuple[list[str | None], list[str | None], list[str | None]]:
    """Keys of pictures; reasons and details with those that a path gives cause for. What readers refused stays so."""
    keys: list[str | None] = []
    reasons, details = table.column("reason").to_pylist(), table.column("detail").to_pylist()
    for place, path in enumerate(table.column("path").to_pylist()):
        try:
            keys.append(key_of(source, path))
        except RefusedError as refusal:
            keys.append(None)
            if reasons[place] is None:
                reasons[place], details[place] = refusal.reason, refusal.detail
    return keys, reasons, details


def _count(database: duckdb.DuckDBPyConnection, query: str) -> int:
    (number,) = database.execute(query).fetchone() or (0,)
    return int(number)


def picture_states(images: Folder, store: Store) -> pa.Table:
    """The pictures of a folder, as `Folder.listing` gives them.

    Nothing of the store counts, where that lies in the same folder.
    """
    own = f"{store.root}/" if images.is_local == store.is_local else None
    return images.listing(lambda name: is_picture(name) and not (own and images.path(name).startswith(own)))
