"""A stage of the micro store, to be done in a process of its own, which may be killed at a fault point."""

from typing import Any

from infra.store import Store
from schemas.splits import WILD_TRAIN, WILD_VALIDATION
from tasks.engine.results import StageResult
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.training import Align
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.train.test_align_stage import commit_pairs


def run(held: MicroStore, stage: str) -> StageResult:
    """Generate for wild/train (3 shards), evaluate wild/validation (2 shards), or align on invented pairs (6 steps)."""
    here, keys, config = held.context, [held.ingest_key], held.context.config
    if stage == "generate":
        return Generate(keys, (WILD_TRAIN,), held.policy, config.generate).run(here)
    if stage == "evaluate":
        return Evaluate(keys, (WILD_VALIDATION,), held.policy, held.scorer, config.evaluate).run(here)
    pairs = commit_pairs(held.store, held.ingest_key)
    return Align(micro.of(held.ingest_key), pairs, held.policy, held.policy).run(here)


def work(url: str, ingest_key: str, policy: str, scorer: str, stage: str) -> dict[str, Any]:
    """The same for `tests.faults.nursery`, which passes plain values on."""
    done = run(MicroStore(Store.open(url), ingest_key, policy, scorer), stage)
    return {"key": done.key, "units": done.record.tally.total, "rows": done.record.rows}
