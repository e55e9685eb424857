"""One run a campaign; leases of the dead are taken over, those of the living are not."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from flows.lease import STALE_SECONDS, BusyError, Holder, holder_of, lease
from infra.store import Store

PATH = "leases/default.json"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_a_second_run_is_told_who_the_first_is(store: Store) -> None:
    with (
        lease(store, "default", "a DPO round"),
        pytest.raises(BusyError, match=f"a DPO round, process {os.getpid()}"),
        lease(store, "default", "another"),
    ):
        raise AssertionError("two held it")
    assert holder_of(store, "default") is None
    assert not store.exists(PATH)


def test_campaigns_do_not_disturb_each_other(store: Store) -> None:
    with lease(store, "one", "x"), lease(store, "two", "y"):
        assert {holder_of(store, "one").what, holder_of(store, "two").what} == {"x", "y"}  # type: ignore[union-attr]


def test_the_lease_of_a_killed_process_is_taken_over_at_once(store: Store, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom flows.lease import lease\nfrom infra.store import Store\n"
        "with lease(Store.open(sys.argv[1]), 'default', 'doomed'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, store.root], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match="doomed"), lease(store, "default", "too early"):
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    with lease(store, "default", "heir") as mine:
        assert holder_of(store, "default") == mine


@pytest.mark.parametrize(("age", "busy"), [(STALE_SECONDS / 3, True), (STALE_SECONDS * 2, False)])
def test_elsewhere_the_heartbeat_decides(store: Store, age: float, busy: bool) -> None:
    other = Holder("t", "another-machine", "", 1, 0.0, time.time() - age, "a round over there")
    store.atomic_write(PATH, json.dumps(asdict(other)).encode())
    assert (holder_of(store, "default") is not None) is busy
    if busy:
        with pytest.raises(BusyError, match="another-machine"), lease(store, "default", "here"):
            pass
    else:
        with lease(store, "default", "here") as mine:
            assert holder_of(store, "default") == mine


def test_the_heart_beats_and_a_lost_lease_is_left_to_its_new_holder(store: Store) -> None:
    with lease(store, "default", "here", beat_seconds=0.05) as mine:
        deadline = time.time() + 10
        while json.loads(store.read_bytes(PATH))["beat"] <= mine.beat:
            assert time.time() < deadline, "no heartbeat"
            time.sleep(0.02)


def test_a_damaged_file_blocks_nobody(store: Store) -> None:
    store.atomic_write(PATH, b"not json")
    with lease(store, "default", "here"):
        assert holder_of(store, "default") is not None
