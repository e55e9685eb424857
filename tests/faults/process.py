"""A stage as a process of its own, to be killed at a fault point:

`python -m tests.faults.process STORE INGEST_KEY POLICY SCORER STAGE [wait]` does the stage and prints what came of it
as JSON. With `wait` it says "ready" first and starts when a line comes in.
"""

import json
import sys

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


if __name__ == "__main__":
    url, ingest_key, policy, scorer, name = sys.argv[1:6]
    given = MicroStore(Store.open(url), ingest_key, policy, scorer)
    if sys.argv[6:] == ["wait"]:
        print("ready", flush=True)
        sys.stdin.readline()
    done = run(given, name)
    print(json.dumps({"key": done.key, "units": done.record.tally.total, "rows": done.record.rows}))
