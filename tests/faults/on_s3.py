"""Small stages on a store of any URL, to be called in processes of their own (`nursery`)."""

import hashlib

from infra import rounds
from infra.store import Store
from schemas.errors import EngineError
from schemas.splits import WILD_TRAIN
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import TrainBase
from tests.faults.tables import visible
from tests.tasks import micro
from tests.tasks.conftest import MicroStore


def prepare(url: str) -> list[str]:
    """A store with ingested people and two untrained models: key of the ingest, digests of policy and scorer."""
    store, key = micro.make_store(url)  # type: ignore[arg-type]
    return [key, micro.untrained(store, "policy"), micro.untrained(store, "scorer")]


def work(url: str, ingest_key: str, policy: str, scorer: str) -> list[str]:
    """Generate, score, pair and train; open a round and promote. The keys of the stages."""
    held = MicroStore(Store.open(url), ingest_key, policy, scorer)
    context, config = held.context, held.context.config
    rounds.begin(held.store, "c", policy)
    rounds.open_round(held.store, "c", 1)
    made = Generate((ingest_key,), (WILD_TRAIN,), policy, config.generate).run(context)
    scored = Score(made.key, (ingest_key,), scorer).run(context)
    pairs = Pair(made.key, scored.key, config.pair).run(context)
    trained = TrainBase(micro.of(ingest_key)).run(context)
    rounds.promote(held.store, "c", 1, trained.key, "a test")
    rounds.close_round(held.store, "c", 1)
    return [made.key, scored.key, pairs.key, trained.key]


def fingerprints(url: str) -> dict[str, tuple[int, str]]:
    """Rows of each table that a reader may see, and a digest of them."""
    found = visible(Store.open(url))
    found["stages"] = found["stages"].drop_columns(["tables"])  # sizes of files that hold the store's place
    return {
        table: (len(rows), hashlib.sha256(repr(rows.to_pylist()).encode()).hexdigest()) for table, rows in found.items()
    }


def refused(url: str) -> tuple[str, str]:
    """Open a store that can't be reached: class and text of the error."""
    try:
        Store.open(url)
    except EngineError as error:
        return type(error).__name__, str(error)
    return "", ""
