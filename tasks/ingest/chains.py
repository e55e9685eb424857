"""Ingests that build on each other: one that was done again holds only what was new, changed or gone since.

An ingest's rows stand until a later one of the same split, which names it among what it reads, mentions the same person
again, be it with a row or as a failure.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from infra.stages import find
from infra.store import Store
from infra.tables import read

INGEST = "ingest"


def chain(store: Store, key: str) -> list[str]:
    """The ingest with this key and those that it builds on, newest first."""
    keys = [key]
    while (record := find(store, keys[-1])) is not None and record.stage == INGEST:
        earlier = [before for before in record.reads if (found := find(store, before)) and found.stage == INGEST]
        if not earlier:
            break
        keys.append(earlier[0])
    return keys


def read_standing(
    store: Store,
    table: str,
    ingest_keys: Sequence[str],
    *,
    where: pc.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Rows of `images`, `instances` or `labels` of these ingests, as they stand: of rows that were ingested again the
    newest, of those that later failed or went none."""
    chains = [chain(store, key) for key in dict.fromkeys(ingest_keys)]
    if all(len(keys) == 1 for keys in chains):
        return read(store, table, stage_keys=[keys[0] for keys in chains], where=where, columns=columns)
    name = "image_id" if table == "images" else "instance_id"
    wanted = list(columns) if columns is not None else None
    parts = []
    for keys in chains:
        seen: set[str] = set()
        for key in keys:
            asked = None if wanted is None else [*wanted, *([] if name in wanted else [name])]
            rows = read(store, table, stage_keys=[key], where=where, columns=asked)
            names = rows.column(name)
            rows = rows.filter(pc.invert(pc.is_in(names, value_set=pa.array(sorted(seen), pa.string()))))
            parts.append(rows if wanted is None else rows.select(wanted))
            if key != keys[-1]:
                seen |= _mentioned(store, key, name)
    return pa.concat_tables(parts)


def _mentioned(store: Store, key: str, name: str) -> set[str]:
    """What a later ingest speaks of, so that earlier rows of it don't stand."""
    table = "images" if name == "image_id" else "instances"
    mentioned = set(read(store, table, stage_keys=[key], columns=[name]).column(name).to_pylist())
    if name == "instance_id":
        mentioned |= set(read(store, "failures", stage_keys=[key], columns=["id"]).column("id").to_pylist())
    return mentioned
