"""Whose turn it is: a command is refused while another run works on the campaign, a deployment's run waits."""

import json
import logging
import os
import shutil
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import flows.run.session
from flows.run.configuration import Choices
from flows.run.holder import this_process
from flows.run.lease import BusyError, LostLeaseError, holder_of, lease
from flows.run.session import session
from flows.run.waiting import WaitingNote, waiting_for
from infra.store import Store
from schemas.errors import StoreError
from tasks.stages.synthesize import Synthesize

CAMPAIGN = "micro"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_a_command_is_refused(store: Store) -> None:
    with (
        lease(store, CAMPAIGN, "a DPO round"),
        pytest.raises(BusyError, match="being worked on: a DPO round"),
        session("an evaluation", store.url, Choices(profile="micro")),
    ):
        raise AssertionError("two worked on one campaign")


def test_a_store_that_is_removed_meanwhile_is_named_whatever_is_missed_first(store: Store) -> None:
    def fail() -> None:
        shutil.rmtree(store.root)
        raise FileNotFoundError(f"{store.root}/tables/stages/part-0.parquet")

    gone = f"The store at {store.url} is gone"
    with pytest.raises(StoreError, match=gone) as told, session("a DPO round", store.url, Choices(profile="micro")):
        fail()
    assert isinstance(told.value.__context__, FileNotFoundError)
    with (
        pytest.raises(FileNotFoundError),
        session("a DPO round", store.url, Choices(profile="micro")),
    ):  # it is another's fault
        raise FileNotFoundError("boxes.csv")


def test_a_run_that_has_lost_its_campaign_stops_before_its_next_stage(store: Store) -> None:
    with session("a DPO round", store.url, Choices(profile="micro")) as line:
        line.may_go_on()
        heir = replace(this_process("an heir"), token="heir")
        store.atomic_write(f"leases/{CAMPAIGN}/2.json", json.dumps(asdict(heir)).encode())
        with pytest.raises(LostLeaseError, match="was taken over by an heir"):
            line.run(Synthesize())
        assert line.ran == []
        store.remove(f"leases/{CAMPAIGN}/2.json")


def test_a_run_of_a_deployment_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("of-the-run")
    monkeypatch.setattr(flows.run.session, "_deployed", lambda: (logger, "brave-otter"))
    monkeypatch.setattr(flows.run.session, "TURN_SECONDS", 0.02)
    ended, worked = threading.Event(), threading.Event()

    def wait_and_work() -> None:
        with session("an evaluation", store.url, Choices(profile="micro")):
            assert ended.is_set()
            holder = holder_of(store, CAMPAIGN)
            assert holder is not None
            assert holder.what == "an evaluation"
            worked.set()

    with caplog.at_level("INFO", "of-the-run"):
        with lease(store, CAMPAIGN, "a DPO round"):
            waiting = threading.Thread(target=wait_and_work)
            waiting.start()
            waiting.join(0.5)
            assert waiting.is_alive()
            (waiter,) = waiting_for(store, CAMPAIGN)
            assert (waiter.what, waiter.pid, waiter.flow_run) == ("an evaluation", os.getpid(), "brave-otter")
            assert 0 < waiter.since <= waiter.beat
            ended.set()
        waiting.join(60)
    assert worked.is_set()
    (said,) = (record.getMessage() for record in caplog.records if record.name == "of-the-run")
    assert "a DPO round" in said
    assert "This run waits for that" in said
    assert holder_of(store, CAMPAIGN) is None
    assert store.list_files("waiting") == []


def test_a_run_that_died_while_it_waited_waits_no_more(store: Store) -> None:
    dead = replace(this_process("a round that was killed"), token="dead", born="long ago")
    elsewhere = replace(dead, token="other", host="another-machine", beat=time.time())
    for note in (dead, elsewhere):
        store.atomic_write(f"waiting/{CAMPAIGN}/{note.token}.json", json.dumps(asdict(note)).encode())
    store.atomic_write(f"waiting/{CAMPAIGN}/torn.json", b"{")
    assert [holder.token for holder in waiting_for(store, CAMPAIGN)] == ["other"]
    note = WaitingNote(store, CAMPAIGN, "an evaluation")
    note.write()
    assert len(store.list_files("waiting")) == 2
    note.remove()
    assert store.list_files("waiting") == [f"waiting/{CAMPAIGN}/other.json"]
