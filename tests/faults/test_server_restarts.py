"""The Prefect server is killed in the middle of a round and started again: the round ends, and both know how.

A server that a person started is started again by them; a temporary one by the command that has it.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from infra import rounds
from infra.store import Store
from infra.tables import read
from tests.faults.holding import GO, HELD, until

pytestmark = [pytest.mark.slow, pytest.mark.faults]
ROOT = Path(__file__).resolve().parents[2]
AWAY_SECONDS = 15.0
"""Longer than Prefect's client waits before its first retries."""
RUN = """
import sys
from flows.process.quiet import quiet_start
quiet_start()
import flows.run.session
from flows.dpo_round import dpo_round
from flows.run.round_artifacts import facts_of
from tests.faults.holding import hold
hold("begin:align", sys.argv[2])
flows.run.session.IN_PROCESS = True
facts_of(dpo_round, sys.argv[1], "micro")
"""

RUN_ALONE = """
import sys
import flows.run.session
from flows.cli.main import app
from tests.faults.holding import hold
hold("begin:align", sys.argv[2])
flows.run.session.IN_PROCESS = True
app(["run", "--store", sys.argv[1], "--profile", "micro"])
"""
SOON_SECONDS = 30.0


class Server:
    """A Prefect server of its own, with its database in a folder."""

    def __init__(self, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.3)
        raise AssertionError("the Prefect server did not start")

    def kill(self) -> None:
        """SIGKILL, with the processes that it started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ask(self, what: str) -> list[dict[str, object]]:
        """All flow_runs or task_runs."""
        found: list[dict[str, object]] = httpx.post(f"{self.url}/{what}/filter", json={}, timeout=30).json()
        return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "prefect")
    try:
        made.start()
        yield made
    finally:
        made.kill()


def test_the_round_ends_and_the_server_knows(server: Server, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with open(tmp_path / "said", "w+", encoding="utf-8") as said:
        run = subprocess.Popen(
            [sys.executable, "-c", RUN, store.url, str(tmp_path)],
            cwd=ROOT,
            env=server.environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        try:
            held = tmp_path / HELD
            until(lambda: held.exists() or run.poll() is not None, "the round did not come to its training")
            assert held.exists(), Path(said.name).read_text(encoding="utf-8")
            server.kill()
            (tmp_path / GO).touch()
            time.sleep(AWAY_SECONDS)
            assert run.poll() is None, "the round did not outlive its server"
            server.start()
            assert run.wait(timeout=300) == 0, Path(said.name).read_text(encoding="utf-8")
        finally:
            run.kill()
            run.wait()
    seen = rounds.state(store, "micro")
    assert [event.event for event in seen.events][-1] == "closed"
    keys = read(store, "stages").column("stage_key").to_pylist()
    assert len(keys) == len(set(keys))
    runs = {str(row["flow_id"]): row["state_type"] for row in server.ask("flow_runs")}
    assert set(runs.values()) == {"COMPLETED"}, runs
    assert len(runs) == 2  # the round, and the bootstrap within
    decided = seen.decision(1)
    assert decided is not None
    assert decided.event.capitalize() in {row["state_name"] for row in server.ask("flow_runs")}


def test_a_temporary_server_is_killed(tmp_path: Path) -> None:
    """The round is decided and the command ends soon after, with its summary."""
    store = Store.open(tmp_path / "store")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    run = subprocess.Popen(
        [sys.executable, "-c", RUN_ALONE, store.url, str(tmp_path)],
        cwd=ROOT,
        env={**plain, "PREFECT_HOME": str(tmp_path / "prefect"), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    try:
        held = tmp_path / HELD
        until(lambda: held.exists() or run.poll() is not None, "the round did not come to its training")
        assert run.stdout is not None
        assert held.exists(), run.stdout.read()
        children = psutil.Process(run.pid).children()
        (server,) = (child for child in children if "flows.serve.temporary_server" in child.cmdline())
        server.kill()
        (tmp_path / GO).touch()
        for line in run.stdout:
            said.append(line)
            if line.startswith("round 1: "):
                decided_at = time.monotonic()
        assert run.wait(timeout=SOON_SECONDS) == 0, "".join(said)
        assert time.monotonic() - decided_at < SOON_SECONDS, "".join(said)
    finally:
        run.kill()
        run.wait()
    assert "it is started again" in "".join(said)
    assert any(line.startswith("next:") for line in said), said
    assert [event.event for event in rounds.state(store, "micro").events][-1] == "closed"
