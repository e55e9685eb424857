"""The same round triggered twice at once, by schedule or by hand: one commit, and the other stops or reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import rounds
from infra.store import Store
from infra.tables import read
from tests.faults.chain import FIRST
from tests.faults.holding import GO, until
from tests.faults.nursery import Order
from tests.faults.prepared import Prepared
from tests.faults.tables import different, visible

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def test_two_that_do_not_see_each_other_leave_the_rows_of_one(prepared: Prepared) -> None:
    """From opening the round to its report, without the lease that keeps them apart."""
    prepared.enter(f"{FIRST}generate")
    last, known = f"{FIRST}report", prepared.before(f"{FIRST}generate")
    order = Order("tests.faults.chain:go", [prepared.store.url, last, known])
    one, other = prepared.nursery.together(order, order)
    assert (one.returncode, other.returncode) == (0, 0), (one, other)
    assert one.result == other.result == prepared.keys[last]
    assert different(visible(prepared.store), prepared.rows_after(last)) == []


RUN = """
import sys
from flows.process.quiet import quiet_start
quiet_start()
from flows.process.errors import clear_errors
from flows.serve.temporary_server import begin_server
with clear_errors():
    ready = begin_server()
    import flows.run.session
    from flows.dpo_round import dpo_round
    from tests.faults.holding import hold
    hold("begin:synthesize", sys.argv[2])
    flows.run.session.IN_PROCESS = True
    ready()
    dpo_round(sys.argv[1], "micro", changes={"synthesize.wild_train": "9"})
"""


def start(store: Store, folder: Path, number: int) -> subprocess.Popen[bytes]:
    """A flow run with a Prefect server of its own; what it says goes to `folder/said-<number>`."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    with open(folder / f"said-{number}", "wb") as said:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, store.url, str(folder)],
            cwd=ROOT,
            env={**environment, "PREFECT_HOME": str(folder / f"prefect-{number}"), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stderr=said,
        )


@pytest.mark.faults
def test_the_second_run_stops_and_says_who_is_at_work(tmp_path: Path) -> None:
    """Two flow runs, as two cron runs of the same minute start them; the one waits in its first stage for the other."""
    store = Store.open(tmp_path / "store")
    both = [start(store, tmp_path, number) for number in range(2)]
    try:
        until(lambda: any(process.poll() is not None for process in both), "neither of two runs stopped")
        (tmp_path / GO).touch()
        for process in both:
            process.wait(timeout=300)
    finally:
        for process in both:
            process.kill()
            process.wait()
    said = [(tmp_path / f"said-{number}").read_text(encoding="utf-8") for number in range(2)]
    assert sorted(process.returncode for process in both) == [0, 2], said
    stopped, worked = sorted(range(2), key=lambda number: -both[number].returncode)
    assert f"Campaign micro is being worked on: a DPO round, process {both[worked].pid}" in said[stopped]
    assert "Traceback" not in said[stopped]
    seen = rounds.state(store, "micro")
    assert [event.event for event in seen.events][1] == "opened"
    assert len(seen.events) == 4
    assert not seen.is_open
    keys = read(store, "stages").column("stage_key").to_pylist()
    assert len(keys) == len(set(keys))
