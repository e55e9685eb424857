"""Which ingest of a split stands: the newest, which may build on others (`chains`)."""

import pyarrow.compute as pc

from infra.stages import records
from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from tasks.context import Target
from tasks.ingest.chains import INGEST, chain


def newest_ingest(store: Store, target: Target) -> str:
    """The key of the newest ingest of this split. Raises DataError, which names what there is, where there is none."""
    where = (pc.field("dataset") == target.dataset) & (pc.field("split") == target.split)
    found = read(store, "instances", where=where, columns=["stage_key"])
    holding = set(pc.unique(found.column("stage_key")).to_pylist())
    ingests = {record.stage_key: record for record in records(store) if record.stage == INGEST}
    for key in reversed(ingests):
        # one that was done again and met nobody new has no rows, but what it builds on has
        if holding & set(chain(store, key)):
            return key
    others = (
        read(store, "instances", stage_keys=list(ingests), columns=["dataset", "split"])
        .group_by(["dataset", "split"])
        .aggregate([])
    )
    known = ", ".join(sorted(f"{row['dataset']}/{row['split']}" for row in others.to_pylist())) or "none yet"
    raise DataError(f"There is no ingest of {target} in {store.url}; ingested are: {known}.")
