"""Tests know nothing of what somebody has set up for themselves: stores, clusters, servers, credentials, `make serve`.

Two variables are for tests: ADHMR_PARITY_DIR, and ADHMR_STORE, which only `tests/parity/test_precision.py` gets to see.
Ray gets a token of this process's own: two of them on a fresh machine would both write the one in the home folder.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import durations, memory, order
from tests.prefect_server import PrefectServer

PARITY_STORE = "ADHMR_PARITY_STORE"
_KEPT = {"ADHMR_PARITY_DIR", PARITY_STORE}
_OTHERS = ("ADHMR_", "AWS_", "PREFECT_", "RAY_ADDRESS", "RAY_AUTH_")

if "ADHMR_STORE" in os.environ:
    os.environ[PARITY_STORE] = os.environ["ADHMR_STORE"]  # by a name that the processes of pytest-xdist inherit
for _name in [name for name in os.environ if name.startswith(_OTHERS) and name not in _KEPT]:
    del os.environ[_name]
os.environ["ADHMR_SERVE"] = os.devnull

if in_memory := memory.root():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(in_memory))  # where its folder of this run is to be

# before Ray is imported, which looks for it then
_FOLDER = Path(tempfile.mkdtemp(prefix="adhmr-tests-"))
_TOKEN = _FOLDER / "token"
_TOKEN.touch(mode=0o600)
_TOKEN.write_text(secrets.token_hex(32), encoding="ascii")
os.environ["RAY_AUTH_TOKEN_PATH"] = str(_TOKEN)


@pytest.hookimpl(trylast=True)  # once rooms have marked their tests, and those that are not asked for are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order.slow_files_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.ByFile | None:
    return order.ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if (count := config.getoption("durations")) is not None:
        phases = [one for some in terminalreporter.stats.values() for one in some if hasattr(one, "duration")]
        terminalreporter.section("longest files")
        for line in durations.lines(phases, count):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """For `with prefect_server.used()`."""
    server = PrefectServer()
    yield server
    server.stop()


def pytest_unconfigure() -> None:
    """Not at the exit of the interpreter, which a fork of it has as well."""
    shutil.rmtree(_FOLDER, ignore_errors=True)
