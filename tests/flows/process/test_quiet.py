"""Only what is listed is silenced, and errors that a person can cure come without Prefect's tracebacks."""

import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.process.quiet import MESSAGES, RUN_LOGGERS, SETTINGS, plain_run_errors, quiet_start
from schemas.errors import DataError


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {setting.name for setting in SETTINGS}
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if name not in names})


def test_settings_are_defaults_only() -> None:
    os.environ[SETTINGS[0].name] = "DEBUG"
    quiet_start()
    assert os.environ[SETTINGS[0].name] == "DEBUG"
    assert {setting.name: os.environ[setting.name] for setting in SETTINGS[1:]} == {
        setting.name: setting.value for setting in SETTINGS[1:]
    }


def test_every_silence_has_its_reason() -> None:
    assert all(len(entry.reason) > 20 for entry in (*SETTINGS, *MESSAGES))
    assert all(re.compile(message.pattern).search("") is None for message in MESSAGES), "a pattern that drops all"


def test_listed_messages_go_and_others_stay() -> None:
    quiet_start()
    quiet_start()
    logger = logging.getLogger(MESSAGES[0].logger)
    assert len(logger.filters) == 1

    def passes(text: str) -> bool:
        return bool(logger.filter(logging.makeLogRecord({"msg": text, "levelno": logging.WARNING})))

    assert not passes("Token authentication is enabled for this Ray cluster.")
    assert passes("Token authentication is disabled for this Ray cluster.")


def test_curable_errors_of_runs_are_left_to_the_command_line() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        plain_run_errors()
    finally:
        root.removeHandler(handler)

    def log(name: str, text: str, error: Exception | None = None) -> None:
        about = (type(error), error, None) if error else None
        handler.handle(logging.LogRecord(name, logging.ERROR, "", 1, text, (), about))

    for error in (DataError("no picture in x"), ZeroDivisionError("a defect")):
        log(RUN_LOGGERS[1], f"Task run failed with exception: {error!r}", error)
        log(RUN_LOGGERS[1], f"Finished in state Failed('Task run encountered an exception {error}')")
    log("another", "no picture in x")
    assert out.getvalue().splitlines() == [
        "Task run failed with exception: ZeroDivisionError('a defect')",
        "ZeroDivisionError: a defect",
        "Finished in state Failed('Task run encountered an exception a defect')",
        "no picture in x",
    ]


@pytest.mark.slow
def test_a_first_flow_run_prints_nothing_of_its_own(tmp_path: Path) -> None:
    """A fresh home and a temporary server, as at a newcomer's first `adhmr run`; then a run that a person can cure."""
    script = """
from flows.process.quiet import plain_run_errors, quiet_start
quiet_start()
from prefect import flow, task
from flows.process.errors import clear_errors
from schemas.errors import DataError
plain_run_errors()

@task
def work(good):
    if not good:
        raise DataError("no picture in x")

@flow(name="quiet")
def quiet(good):
    work(good)

quiet(True)
with clear_errors():
    quiet(False)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DO_NOT"))}
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "HOME": str(tmp_path), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (2, "", "adhmr: no picture in x\n")
