"""A stage as a process of its own, to be killed at a fault point:

`python -m tests.faults.process STORE INGEST_KEY POLICY SCORER STAGE [wait]` does the stage and prints what came of it
as JSON. With `wait` it says "ready" first and starts when a line comes in.
"""

import json
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any
from unittest import mock

import torch

from infra.store import Store
from tasks.align import align
from tasks.evaluate import evaluate
from tasks.generate import generate
from tasks.sharded import StageResult
from tasks.training import stage as training_stage
from tasks.training.worker import Job, Result, train
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.test_align import commit_pairs

STATE = "state.pt"


def run(held: MicroStore, stage: str) -> StageResult:
    """Generate for wild/train (3 shards), evaluate wild/validation (2 shards), or align on invented pairs (6 steps)."""
    here, keys, config = held.context, [held.ingest_key], held.context.config
    if stage == "generate":
        return generate(here, keys, [micro.WILD_TRAIN], held.policy, config.generate)
    if stage == "evaluate":
        return evaluate(here, keys, [micro.WILD_VALIDATION], held.policy, held.scorer, config.evaluate)
    pairs = commit_pairs(held.store, held.ingest_key)
    with mock.patch.object(training_stage, "_in_process", checkpointed):
        return align(here, held.ingest_key, pairs, held.policy, held.policy)


def checkpointed(job: Job, tell: Callable[[], None]) -> Result:
    """The training here, with checkpoints in a file: all that the stage wants of Ray Train, without its start-up."""
    kept = job.run.read(STATE)

    def keep(step: int, state: Callable[[], dict[str, Any]]) -> None:
        tell()
        buffer = BytesIO()
        torch.save(state(), buffer)
        job.run.write(STATE, buffer.getvalue())

    try:
        return train(job, torch.device("cpu"), torch.load(BytesIO(kept)) if kept else None, keep)
    finally:
        torch.set_flush_denormal(False)


if __name__ == "__main__":
    url, ingest_key, policy, scorer, name = sys.argv[1:6]
    given = MicroStore(Store.open(url), ingest_key, policy, scorer)
    if sys.argv[6:] == ["wait"]:
        print("ready", flush=True)
        sys.stdin.readline()
    done = run(given, name)
    print(json.dumps({"key": done.key, "units": done.record.tally.total, "rows": done.record.rows}))
