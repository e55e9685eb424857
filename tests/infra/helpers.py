"""A small stage for the protocol's tests, also to be run as a process of its own:

`python -m tests.infra.helpers STORE NAME [GO_FILE]` commits the stage NAME (once GO_FILE exists) and prints its key.
"""

import sys
import time
from pathlib import Path

import pyarrow as pa

from infra.shards import Tally, cut, receipts, write_shard
from infra.stages import Failure, StageRecord, StageSpec, commit, failures_table
from infra.store import Store
from schemas.tables import build

IDS = [f"toy/test/{number:02d}#0" for number in range(10)]


def spec(name: str = "toy") -> StageSpec:
    return StageSpec(name, 1, {"size": 4})


def scores(key: str, ids: list[str], shift: float = 0.0, round_number: int = 1) -> pa.Table:
    return build(
        "scores",
        {
            "generation_id": [key] * len(ids),
            "instance_id": ids,
            "sample_index": [0] * len(ids),
            "scorer": ["s"] * len(ids),
            "score": [float(hash_free(name)) + shift for name in ids],
            "round": [round_number] * len(ids),
            "stage_key": [key] * len(ids),
        },
    )


def hash_free(name: str) -> int:
    return sum(name.encode())


def run(store: Store, name: str = "toy") -> StageRecord:
    """Two tables (scores in two partitions, failures), in three shards."""
    stage = spec(name)
    shards = cut(IDS, 4)
    for shard in shards:
        lost = [Failure(shard.ids[-1], "last of its shard")]
        kept = list(shard.ids[:-1])
        tables = {
            "scores": scores(stage.key, kept, round_number=1 + shard.index % 2),
            "failures": failures_table(stage, lost),
        }
        write_shard(store, stage.key, shard, tables, Tally(ok=len(kept), failed=1), stage=name)
    every = receipts(store, stage.key, shards)
    files = {
        table: [file for receipt in every.values() for file in receipt.files if file.table == table]
        for table in ("scores", "failures")
    }
    tally = sum((receipt.tally for receipt in every.values()), Tally())
    return commit(store, stage, files, len(IDS), tally)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        while not Path(sys.argv[3]).exists():
            time.sleep(0.005)
    print(run(Store.open(sys.argv[1]), sys.argv[2]).stage_key)
