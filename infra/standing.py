"""Which of the rows of ingests hold: one that was done again has only what was new, changed or gone since.

What an ingest says of a person, be it a row or a failure, holds until a later one of the same split, which names it
among what it reads, speaks of that person again. Of a split the newest ingest counts. (In SQL: `standing_views`.)
"""

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from infra.stages import StageRecord, find, records
from infra.store import Store
from infra.tables import keys_about, read
from infra.whole import readable_keys
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from schemas.tables import contract

INGEST = "ingest"
HYPOTHESES = "ingest_hypotheses"


def chain(store: Store, key: str) -> list[str]:
    """The ingest with this key and those that it builds on, newest first. StoreError where one of these isn't whole."""
    keys = [key]
    while (record := find(store, keys[-1])) is not None and record.stage == INGEST:
        readable_keys(store, "instances", record.reads)  # or what is left would pass for all
        earlier = [before for before in record.reads if (other := find(store, before)) and other.stage == INGEST]
        if not earlier:
            break
        keys.append(earlier[0])
    return keys


def chains(store: Store, ingest_keys: Sequence[str]) -> list[list[str]]:
    """The chain of each of these, but of none that another one of them builds on: it is part of that one's."""
    every = [chain(store, key) for key in dict.fromkeys(ingest_keys)]
    return [keys for keys in every if not any(keys[0] in others[1:] for others in every)]


def builds_on(store: Store, record: StageRecord) -> set[str]:
    """The keys of the stages that an ingest builds on, and of those that these do, whole or not."""
    keys: set[str] = set()
    waiting = [record]
    while waiting:
        new = set(waiting.pop().reads) - keys
        keys |= new
        waiting += [read for key in sorted(new) if (read := find(store, key)) is not None and read.stage == INGEST]
    return keys


def read_standing(
    store: Store,
    table: str,
    ingest_keys: Sequence[str],
    *,
    ids: Collection[str] | None = None,
    where: pc.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Rows of `images`, `instances`, `labels` or `failures` of these ingests that hold: of people who were ingested
    again the newest, and none of people who failed or were gone later. Pictures stay, also without people. `ids` limits
    them to some people, pictures or units, as of `read`.
    """
    every = chains(store, ingest_keys)
    if all(len(keys) == 1 for keys in every):
        return read(store, table, stage_keys=[keys[0] for keys in every], ids=ids, where=where, columns=columns)
    name = str(contract(table).unit)
    wanted = list(columns) if columns is not None else None
    parts = []
    for keys in every:
        mentioned: set[str] = set()
        for key in keys:
            names = None if wanted is None else [*wanted, *([] if name in wanted else [name])]
            rows = read(store, table, stage_keys=[key], ids=ids, where=where, columns=names)
            later = pa.array(sorted(mentioned), pa.string())
            rows = rows.filter(pc.invert(pc.is_in(rows.column(name), value_set=later)))
            parts.append(rows if wanted is None else rows.select(wanted))
            if key != keys[-1]:
                mentioned |= _mentioned(store, key, table, ids)
    return pa.concat_tables(parts)


def _mentioned(store: Store, key: str, table: str, ids: Collection[str] | None) -> set[str]:
    """What of these a later ingest speaks of, so that earlier words on it don't hold."""
    if table == "images":
        return set(read(store, "images", stage_keys=[key], ids=ids, columns=["image_id"]).column(0).to_pylist())
    people = read(store, "instances", stage_keys=[key], ids=ids, columns=["instance_id"]).column(0).to_pylist()
    return {*people, *read(store, "failures", stage_keys=[key], ids=ids, columns=["id"]).column(0).to_pylist()}


def seen_by(record: StageRecord) -> list[StageKey]:
    """The ingests whose people a stage has drawn, measured or brought hypotheses of, as they were then."""
    own = [record.stage_key] if record.rows.get("instances") else []
    return [StageKey(key) for key in (*own, *record.reads)]


def newest_ingest(store: Store, target: Target) -> StageKey:
    """The key of the newest ingest of this split. Raises DataError, which names what there is, where there is none."""
    ingests = records(store, INGEST)
    key = _newest(store, target, INGEST, ingests)
    if key is not None:
        return StageKey(key)
    keys, split = [record.stage_key for record in ingests], ["dataset", "split"]
    others = read(store, "instances", stage_keys=keys, columns=split).group_by(split).aggregate([]).to_pylist()
    listed = ", ".join(sorted(f"{row['dataset']}/{row['split']}" for row in others)) or "none yet"
    raise DataError(f"There is no ingest of {target} in {store.url}; ingested are: {listed}.")


def newest_of_each(store: Store, target: Target) -> list[str]:
    """The keys of the newest ingest of this split and of the newest one of hypotheses, as far as there are any."""
    stages = records(store, INGEST, HYPOTHESES)
    keys = (_newest(store, target, stage, stages) for stage in (INGEST, HYPOTHESES))
    return [key for key in keys if key is not None]


def _newest(store: Store, target: Target, stage: str, stages: Sequence[StageRecord]) -> str | None:
    holding = keys_about(store, "instances", f"{target}/")
    for record in reversed(stages):
        # one that was done again and met no new person has no rows, but what it builds on has
        if record.stage == stage and holding & set(chain(store, record.stage_key)):
            return record.stage_key
    return None
