"""What a training takes of memory does not grow with its crops."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.store import Store
from tests.tasks.conftest import MicroStore
from tests.tasks.many_people import make_many

ROOT = Path(__file__).resolve().parents[3]
PEOPLE = 20_000
READER = """
import sys
import numpy as np
from infra.node_cache import NodeCache
from infra.store import Store
from infra.tables import read
from tasks.rows.mix import Mix
from tasks.rows.streams import Space, training_crops
from tasks.train.pairs import load_pairs
from tests.tasks.many_people import SPLIT

def anonymous():
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024

store, space = Store.open(sys.argv[1]), Space(NodeCache.of(sys.argv[4], 64), 512 * 2**20)
read(store, "stages")  # with what the libraries need once
before, mix = anonymous(), Mix((sys.argv[2],), (SPLIT,))
kept = training_crops(store, mix, space), load_pairs(store, sys.argv[3], mix, space)
draw = np.random.default_rng(0)
for _ in range(100):
    for data in kept:
        assert data.crops[draw.integers(0, len(data.crops), 40)].any()
print(anonymous() - before)
"""


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is told by Linux's /proc")
def test_a_worker_holds_names_and_no_pictures(shared_micro_store: MicroStore, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "many")
    keys = make_many(store, shared_micro_store.store, PEOPLE)
    command = [sys.executable, "-c", READER, store.url, *keys, str(tmp_path / "cache")]
    taken = int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert taken < 350e6  # decoded they would be 3.9 GB
