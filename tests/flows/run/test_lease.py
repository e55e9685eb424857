"""One run a campaign; leases of the dead are taken over, those of the living are not."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flows.run.holder import STALE_SECONDS, STILL_SECONDS, Holder, this_process
from flows.run.lease import LOST_SECONDS, BusyError, LeaseProgress, LostLeaseError, holder_of, lease
from infra.store import Store
from schemas.errors import StoreError
from schemas.progress import SILENT

FIRST, OLDER = "leases/default/1.json", "leases/default.json"
ROOT = Path(__file__).resolve().parents[3]


def plant(store: Store, path: str, holder: Holder) -> bytes:
    """A lease as another process would have written it."""
    data = json.dumps(asdict(holder)).encode()
    store.atomic_write(path, data)
    return data


def elsewhere(age: float, **more: float) -> Holder:
    """A holder on another machine whose last sign of life is so many seconds old."""
    return Holder("t", "another-machine", "", 1, "", time.time() - age, "a round over there", **more)


def dead() -> Holder:
    """A holder of this machine whose process has ended."""
    return replace(this_process("a round that was killed"), token="dead", born="long ago")


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
    assert store.list_files("leases") == []


def test_the_holder_is_named_by_what_was_typed_and_since_when(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "s3://name:planted@bucket/store?token=planted"
    monkeypatch.setattr(sys, "argv", ["/bin/adhmr", "run", "--store", url, "--set", "align.beta=3 "])
    with lease(store, "default", "a DPO round"):
        with pytest.raises(BusyError) as busy, lease(store, "default", "another"):
            pass
        assert set(json.loads(store.read_bytes(FIRST))).isdisjoint({"since", "command", "flow_run"}), (
            "older code would take a lease with fields that it does not know for nobody's"
        )
    told = (
        f"process {os.getpid()} on {os.uname().nodename}, `adhmr run --store s3://bucket/store --set 'align.beta=3 '`"
    )
    assert re.search(re.escape(told) + ", for 0:0[0-9], last progress", str(busy.value))
    with lease(store, "default", "a DPO round", flow_run="brave-otter"):
        holder = holder_of(store, "default")
    assert holder is not None
    assert (holder.flow_run, holder.command) == ("brave-otter", "")
    assert ", flow run brave-otter, for 0:0" in holder.described(time.time())


def test_campaigns_do_not_disturb_each_other(store: Store) -> None:
    with lease(store, "one", "x"), lease(store, "two", "y"):
        assert {holder_of(store, "one").what, holder_of(store, "two").what} == {"x", "y"}  # type: ignore[union-attr]


def test_the_lease_of_a_killed_process_is_taken_over_at_once(store: Store, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom flows.run.lease import lease\nfrom infra.store import Store\n"
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
        assert holder_of(store, "default") == mine.holder


@pytest.mark.parametrize("path", [FIRST, OLDER])
@pytest.mark.parametrize(("age", "busy"), [(STALE_SECONDS / 3, True), (STALE_SECONDS * 2, False)])
def test_elsewhere_the_heartbeat_decides(store: Store, path: str, age: float, busy: bool) -> None:
    """Also for a run of older code, whose lease has no number."""
    plant(store, path, elsewhere(age))
    assert (holder_of(store, "default") is not None) is busy
    if busy:
        with pytest.raises(BusyError, match="another-machine"), lease(store, "default", "here"):
            pass
    else:
        with lease(store, "default", "here") as mine:
            assert holder_of(store, "default") == mine.holder
        assert store.list_files("leases") == []


def test_a_lease_of_older_code_is_read(store: Store) -> None:
    """Its file has no stage and no time of progress."""
    plain = {"token": "t", "host": "h", "place": "", "pid": 7, "born": "", "beat": time.time(), "what": "a round"}
    store.atomic_write(OLDER, json.dumps(plain).encode())
    with pytest.raises(BusyError, match=r"a round, process 7 on h\. Wait until"), lease(store, "default", "here"):
        pass


def test_the_highest_number_holds_and_what_came_before_is_removed(store: Store) -> None:
    for number in (1, 2, 9):
        plant(store, f"leases/default/{number}.json", dead())
        store.atomic_write(f"leases/default/{number}.dead.beat", b"{}")
    plant(store, OLDER, dead())
    with lease(store, "default", "here", beat_seconds=0.01):
        until(lambda: len(store.whole_files("leases")) == 2, "no heartbeat")
        one, other = sorted(path.rpartition("/")[2] for path in store.whole_files("leases"))
        assert (one.split(".")[0], one.endswith(".beat"), other) == ("10", True, "10.json")
    assert store.list_files("leases") == []


def test_a_number_below_the_highest_holds_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that looked before another's take-over and clean-up, and makes its file afterwards."""
    plant(store, "leases/default/4.json", dead())
    write, late = Store.atomic_write, []

    def slow(self: Store, path: str, data: bytes, *, replace: bool = True) -> bool:
        if path == "leases/default/5.json" and not late:
            late.append(path)
            with monkeypatch.context() as patch:
                patch.setattr(Store, "atomic_write", write)
                for number in (5, 6):  # two take-overs while this one wasn't looking
                    plant(store, f"leases/default/{number}.json", elsewhere(STALE_SECONDS if number == 5 else 0.0))
                store.remove("leases/default/4.json")
                store.remove("leases/default/5.json")
        return write(self, path, data, replace=replace)

    monkeypatch.setattr(Store, "atomic_write", slow)
    with pytest.raises(BusyError, match="another-machine"), lease(store, "default", "late"):
        raise AssertionError("it held a number that others had left behind")
    assert late
    assert store.list_files("leases") == ["leases/default/6.json"]


def test_the_heart_beats_and_tells_what_gets_done(store: Store) -> None:
    with lease(store, "default", "here", beat_seconds=0.02) as mine:
        progress = LeaseProgress(SILENT, mine)
        began = mine.holder.progress
        for stage, tell in (
            ("generate", lambda: progress.begin("generate", 3, "instances")),
            ("score", lambda: progress.advance("score")),
            ("pair", lambda: progress.end("pair")),
            ("starting Ray", lambda: progress.say("starting Ray ...")),
            ("starting Ray", lambda: progress.say("gate pairs: passed")),
        ):
            tell()
            told_at = time.time()
            until(lambda stage=stage: heard(store).stage == stage, f"nobody heard of {stage}")  # type: ignore[misc]
            until(lambda at=told_at: heard(store).beat >= at, "no heartbeat")  # type: ignore[misc]
            assert began <= heard(store).progress <= told_at
            began = heard(store).progress
    assert store.list_files("leases") == []


def test_without_progress_the_heart_stops(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease(store, "default", "here", beat_seconds=60.0) as mine:
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + LOST_SECONDS + 1)
        assert mine.beat()
        assert heard(store).beat == mine.holder.beat, "the heart of a run that hangs goes on"
        mine.progress("align")
        assert mine.beat()
        assert heard(store).beat == now + LOST_SECONDS + 1


@pytest.mark.parametrize("still", [False, True])
def test_a_second_run_is_told_how_the_first_gets_on(store: Store, still: bool) -> None:
    ago = STILL_SECONDS + 60 if still else 12.0
    plant(store, FIRST, replace(this_process("a DPO round"), stage="align", progress=time.time() - ago))
    with pytest.raises(BusyError) as busy, lease(store, "default", "another"):
        pass
    said = str(busy.value)
    assert f"a DPO round, process {os.getpid()} on " in said
    if still:
        assert re.search(r"no progress since \d{4}-\d\d-\d\d \d\d:\d\d UTC \(11:0\d ago in align\)\. If it hangs", said)
        assert said.endswith(f"end it with `kill {os.getpid()}` and run again: what is finished stays.")
    else:
        assert re.search(r"last progress 0:1[234] ago in align\. Wait until that run has ended", said)


def test_a_lease_that_was_taken_over_gets_no_more_heartbeats(store: Store) -> None:
    with lease(store, "default", "here", beat_seconds=0.01) as mine:
        (beating,) = (thread for thread in threading.enumerate() if thread.name == "lease")
        mine.check()
        heir = plant(store, "leases/default/2.json", elsewhere(0.0))
        store.remove(FIRST)
        beating.join(10)
        assert not beating.is_alive()
        with pytest.raises(LostLeaseError, match=r"taken over by a round over there, process 1 on another-machine"):
            mine.check()
    assert store.read_bytes("leases/default/2.json") == heir


def test_a_late_write_brings_no_lease_back(store: Store) -> None:
    """The number that a run had is given to another one, after it was taken over and that one has ended."""
    with lease(store, "default", "a zombie", beat_seconds=60.0) as mine:
        store.remove(FIRST)
        with pytest.raises(LostLeaseError):
            mine.check()
        with lease(store, "default", "an heir", beat_seconds=60.0) as heir:
            assert not mine.beat()
            with pytest.raises(LostLeaseError, match="an heir"):
                mine.check()
            mine.give_back()
            heir.check()
            assert holder_of(store, "default") == heir.holder


def test_a_store_that_was_removed_is_named(store: Store) -> None:
    with lease(store, "default", "here", beat_seconds=60.0) as mine:
        shutil.rmtree(store.root)
        with pytest.raises(StoreError, match=f"The store at {store.root} is gone"):
            mine.check()
        assert not mine.beat()
    assert not Path(store.root).exists(), "the heart has made a part of the store again"


TAKES = """
import sys
from flows.run.lease import BusyError, lease
from infra.store import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    try:
        with lease(store, line.strip(), "one of four"):
            print("held", flush=True)
            sys.stdin.readline()
    except BusyError:
        print("busy", flush=True)
        sys.stdin.readline()
    print("over", flush=True)
"""


@pytest.mark.slow
def test_of_four_that_take_over_one_holds(store: Store) -> None:
    """Forty times; half of the leases are of older code."""
    command = [sys.executable, "-c", TAKES, store.root]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    takers = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(4)]  # type: ignore[call-overload]

    def ask(line: str) -> list[str]:
        for taker in takers:
            print(line, file=taker.stdin, flush=True)
        return [taker.stdout.readline().strip() for taker in takers]

    try:
        assert [taker.stdout.readline() for taker in takers] == ["ready\n"] * 4
        for number in range(40):
            plant(store, f"leases/c{number}.json" if number % 2 else f"leases/c{number}/{number + 1}.json", dead())
            assert sorted(ask(f"c{number}")) == ["busy", "busy", "busy", "held"], f"take-over {number}"
            assert ask("go on") == ["over"] * 4
            assert store.list_files("leases") == []
    finally:
        for taker in takers:
            taker.kill()
            taker.communicate()


def heard(store: Store) -> Holder:
    """The holder as others see it."""
    found = holder_of(store, "default")
    assert found is not None
    return found


def until(reached: Callable[[], bool], otherwise: str) -> None:
    end = time.time() + 10
    while not reached():
        assert time.time() < end, otherwise
        time.sleep(0.01)


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


@pytest.mark.parametrize("path", [FIRST, OLDER])
def test_a_damaged_file_blocks_nobody(store: Store, path: str) -> None:
    store.atomic_write(path, b"not json")
    with lease(store, "default", "here"):
        assert holder_of(store, "default") is not None
