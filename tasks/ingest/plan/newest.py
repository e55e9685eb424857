"""Which ingest of a split stands: the newest, which may build on others (`chains`)."""

from collections.abc import Sequence

import pyarrow.compute as pc

from infra.stages import StageRecord, records
from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from tasks.ingest.plan.chains import HYPOTHESES, INGEST, chain


def newest_ingest(store: Store, target: Target) -> StageKey:
    """The key of the newest ingest of this split. Raises DataError, which names what there is, where there is none."""
    known = records(store, INGEST)
    key = _newest(store, target, INGEST, known)
    if key is not None:
        return StageKey(key)
    ingests = [record.stage_key for record in known]
    others = (
        read(store, "instances", stage_keys=ingests, columns=["dataset", "split"])
        .group_by(["dataset", "split"])
        .aggregate([])
    )
    listed = ", ".join(sorted(f"{row['dataset']}/{row['split']}" for row in others.to_pylist())) or "none yet"
    raise DataError(f"There is no ingest of {target} in {store.url}; ingested are: {listed}.")


def newest_of_each(store: Store, target: Target) -> list[str]:
    """The keys of the newest ingest of this split and of the newest one of hypotheses, as far as there are any."""
    known = records(store, INGEST, HYPOTHESES)
    found = (_newest(store, target, stage, known) for stage in (INGEST, HYPOTHESES))
    return [key for key in found if key is not None]


def _newest(store: Store, target: Target, stage: str, known: Sequence[StageRecord]) -> str | None:
    where = (pc.field("dataset") == target.dataset) & (pc.field("split") == target.split)
    found = read(store, "instances", where=where, columns=["stage_key"])
    holding = set(pc.unique(found.column("stage_key")).to_pylist())
    for record in reversed(known):
        # one that was done again and met nobody new has no rows, but what it builds on has
        if record.stage == stage and holding & set(chain(store, record.stage_key)):
            return record.stage_key
    return None
