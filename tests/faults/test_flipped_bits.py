"""Flipped bits, drawn by a seed over a store's files: readers notice, or give what they gave before.

Each is put in with size and time of change as they were, and the engine and `adhmr query` read what it may concern, as
processes that begin.
"""

import shutil
from pathlib import Path

import pytest

from infra import rounds
from infra.begun import note_begin
from infra.repair import repair
from infra.stages import StageSpec
from infra.store import Store
from infra.tables import live_files, read
from schemas.errors import DamagedError
from tasks.engine.context import Context
from tasks.report.stage import Report
from tests.faults import process
from tests.faults.flips import Readers, drawn, kind_of, summary
from tests.faults.prepared import Prepared
from tests.infra import helpers
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.report.test_facts import facts

SHARES = {
    "data": 0.5,
    "entry": 0.14,
    "checkpoint": 0.14,
    "model": 0.08,
    "receipt": 0.08,
    "facts": 0.03,
    "note": 0.01,
    "mark": 0.02,
}
"""Of all flips, how many fall upon which kind of file."""


def try_flips(store: Store, count: int, seed: int) -> set[str]:
    """Flip bit after bit, and say what came of it; the kinds of files that were reached."""
    readers = Readers(store)
    outcomes = [(flip, readers.outcome(flip)) for flip in drawn(store, count, seed, SHARES)]
    print(summary(outcomes))
    wrong = [(flip, outcome) for flip, outcome in outcomes if outcome not in ("noticed", "harmless")]
    assert wrong == []
    return {kind_of(flip.path) or "" for flip, _ in outcomes}


@pytest.fixture
def small(tmp_path: Path) -> Store:
    """A store with a bit of everything."""
    store = Store.open(tmp_path / "store")
    policy = micro.untrained(store, "policy")
    for name in ("one", "two", "three"):
        helpers.run(store, name)
    rounds.begin(store, "micro", policy)
    rounds.open_round(store, "micro", 1)
    Report(facts(promoted=False)).run(Context(store, micro.CONFIG))
    for number in range(1, 5):  # so that the log has a checkpoint
        rounds.keep(store, "micro", number, "its gates do not hold")
        rounds.close_round(store, "micro", number)
        rounds.open_round(store, "micro", number + 1)
    note_begin(store, StageSpec("align", 1, {}), 600, "steps")
    return store


@pytest.mark.slow
def test_some_bits_of_a_small_store(small: Store) -> None:
    reached = try_flips(small, 40, seed=13)
    assert {kind.split()[0] for kind in reached} >= {"data", "entry", "checkpoint", "model", "receipt"}


@pytest.mark.slow
def test_a_stage_with_a_damaged_file_is_made_whole_by_a_repair_and_a_run(micro_store: MicroStore) -> None:
    made = process.run(micro_store, "generate")
    rows, file = read(micro_store.store, "hypotheses"), live_files(micro_store.store, "hypotheses")[1]
    data = bytearray(micro_store.store.read_bytes(file.name))
    for place in (100, 200, 300):
        data[place] ^= 1
    micro_store.store.atomic_write(file.name, bytes(data))
    fresh = micro_store._replace(store=Store.open(micro_store.store.url))
    with pytest.raises(DamagedError, match=r"has lost a file: .* holds other bytes than were written"):
        read(fresh.store, "hypotheses")
    assert [one.outcome for one in repair(fresh.store)] == ["left"]
    again = process.run(fresh, "generate")
    assert (again.key, again.reused, again.shards_done) == (made.key, False, 1)
    assert read(fresh.store, "hypotheses").equals(rows)


@pytest.mark.faults
@pytest.mark.slow
def test_500_bits_of_a_store_with_two_rounds(prepared: Prepared, tmp_path: Path) -> None:
    shutil.copytree(prepared.after(list(prepared.keys)[-1]).root, tmp_path / "store")  # not links, as files are changed
    assert try_flips(Store.open(tmp_path / "store"), 500, seed=0) >= {
        f"data of {table}" for table in ("images", "instances", "labels", "hypotheses", "scores", "pairs", "metrics")
    }
