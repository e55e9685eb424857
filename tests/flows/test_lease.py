"""One run a campaign; leases of the dead are taken over, those of the living are not."""

import json
import os
import signal
import subprocess
import sys
import threading
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
    other = Holder("t", "another-machine", "", 1, "", time.time() - age, "a round over there")
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


def test_a_lease_that_was_taken_over_gets_no_more_heartbeats(store: Store) -> None:
    with lease(store, "default", "here", beat_seconds=0.01) as mine:
        heir = json.dumps({**asdict(mine), "token": "of the heir"}).encode()
        (beating,) = (thread for thread in threading.enumerate() if thread.name == "lease")
        for _ in range(100):  # more than once: a heartbeat may have been on its way
            store.atomic_write(PATH, heir)
            beating.join(0.1)
            if not beating.is_alive():
                break
        assert not beating.is_alive()
    assert store.read_bytes(PATH) == heir


class HiccupError(Exception):
    """As botocore raises them: no OSError."""


def test_a_store_that_does_not_answer_costs_no_finished_round(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(self: Store, *arguments: object) -> bytes:
        raise HiccupError("no endpoint")

    finished = []
    with lease(store, "default", "here", beat_seconds=0.01):
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read_bytes", fails)
            time.sleep(0.1)
            assert any(thread.name == "lease" for thread in threading.enumerate()), "the heart stopped"
        monkeypatch.setattr(Store, "read_bytes", fails)
        finished.append(True)
    assert finished
    assert "can't be removed (HiccupError)" in caplog.text


def test_a_damaged_file_blocks_nobody(store: Store) -> None:
    store.atomic_write(PATH, b"not json")
    with lease(store, "default", "here"):
        assert holder_of(store, "default") is not None
