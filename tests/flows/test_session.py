"""Whose turn it is: a command is refused while another run works on the campaign, a deployment's run waits."""

import logging
import threading
from pathlib import Path

import pytest

import flows.session
from flows.lease import BusyError, holder_of, lease
from flows.session import session
from infra.store import Store

CAMPAIGN = "micro"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_a_command_is_refused(store: Store) -> None:
    with (
        lease(store, CAMPAIGN, "a DPO round"),
        pytest.raises(BusyError, match="being worked on: a DPO round"),
        session("an evaluation", store.url, "micro"),
    ):
        raise AssertionError("two worked on one campaign")


def test_a_run_of_a_deployment_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("of-the-run")
    monkeypatch.setattr(flows.session, "_logger_of_deployment", lambda: logger)
    monkeypatch.setattr(flows.session, "TURN_SECONDS", 0.02)
    ended, worked = threading.Event(), threading.Event()

    def wait_and_work() -> None:
        with session("an evaluation", store.url, "micro"):
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
            ended.set()
        waiting.join(60)
    assert worked.is_set()
    (said,) = (record.getMessage() for record in caplog.records if record.name == "of-the-run")
    assert "a DPO round" in said
    assert "This run waits for that" in said
    assert holder_of(store, CAMPAIGN) is None
