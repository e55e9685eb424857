"""The worker's spare: there for the next run, replaced where it dies, and never in the way of a run at work."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from flows.serve import worker
from flows.serve.handover import SUPERVISOR, Order
from flows.serve.worker import Running, Spares, giving

WAITS = "import sys; line = sys.stdin.readline(); open(sys.argv[1], 'a').write(line); sys.exit(3 if line else 0)"
"""What stands for a spare: it notes the order that it gets, and ends with code 3."""
COMMAND = [sys.executable, *SUPERVISOR, "of-run.json"]


def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def pid_of(spares: Spares) -> int | None:
    return spares.waiting.pid if spares.waiting else None


def options(folder: Path, **others: Any) -> dict[str, Any]:
    """As Prefect says them of a run of a pool that says nothing of its own."""
    known = {"env": {"A": "1"}, "cwd": folder, "start_new_session": True, "stream_output": True}
    return {**known, **others}


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    return tmp_path / "orders"


@pytest.fixture
def spares(noted: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spares]:
    monkeypatch.setattr(worker, "PATIENCE_SECONDS", 0.01)
    found = Spares([sys.executable, "-c", WAITS, str(noted)], lambda: os.environ)
    yield found
    found.begin()  # so that none is started any more
    if found.waiting:
        found.waiting.kill()


class Cold:
    """What Prefect starts by itself; notes the commands."""

    def __init__(self) -> None:
        self.started: list[list[str]] = []

    async def __call__(self, command: list[str], **options: Any) -> str:
        self.started.append(command)
        return "cold"


def run(start: Callable[..., Any], command: list[str], **options: Any) -> Any:
    async def started() -> Any:
        return await start(command, **options)

    return anyio.run(started)


def test_two_runs_have_two_processes(spares: Spares, noted: Path, tmp_path: Path) -> None:
    cold = Cold()
    start = giving(cold, spares)
    spares.prepare()
    pids = []
    for number in range(2):
        until(lambda: pid_of(spares))
        ended = run(start, COMMAND, **options(tmp_path, env={"RUN": str(number)}))
        assert isinstance(ended, Running)
        assert ended.returncode == 3
        pids.append(ended.pid)
    assert len(set(pids)) == 2
    assert cold.started == []
    orders = [json.loads(line) for line in noted.read_text().splitlines()]
    assert [order["environment"] for order in orders] == [{"RUN": "0"}, {"RUN": "1"}]
    assert orders[0]["command"] == COMMAND
    assert orders[0]["folder"] == str(tmp_path)


def test_prefect_learns_of_it_before_it_ends(spares: Spares, tmp_path: Path) -> None:
    """A process by which the run can be cancelled; cancelled itself, the worker leaves none behind."""
    sleeps = Spares([sys.executable, "-c", "import time; time.sleep(600)"], lambda: os.environ)
    sleeps.prepare()
    start, told = giving(Cold(), sleeps), []

    async def watched() -> None:
        async with anyio.create_task_group() as group:

            async def begin(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
                handler = {"task_status": task_status, "task_status_handler": lambda running: running}
                await start(COMMAND, **options(tmp_path), **handler)

            told.append(await group.start(begin))
            assert told[0].returncode is None
            assert os.getpgid(told[0].pid) == told[0].pid
            sleeps.begin()  # none is made anew
            group.cancel_scope.cancel()

    anyio.run(watched)
    assert told[0].returncode == -signal.SIGKILL


def test_a_killed_one_is_replaced(spares: Spares) -> None:
    spares.prepare()
    first = pid_of(spares)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: pid_of(spares) not in (None, first))


def test_one_that_has_just_died_costs_no_run(spares: Spares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody has noticed yet."""
    cold = Cold()
    monkeypatch.setattr(Spares, "_watch", lambda self, process: None)
    spares.prepare()
    waiting = spares.waiting
    assert waiting is not None
    waiting.kill()
    os.waitid(os.P_PID, waiting.pid, os.WEXITED | os.WNOWAIT)
    assert run(giving(cold, spares), COMMAND, **options(tmp_path)) == "cold"
    assert cold.started == [COMMAND]
    assert pid_of(spares) not in (None, waiting.pid)


def test_what_always_dies_is_given_up_until_a_run_was_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PATIENCE_SECONDS", 0.01)
    noted = tmp_path / "starts"
    dies = Spares(
        [sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write('x')", str(noted)], lambda: os.environ
    )

    def starts() -> int:
        return len(noted.read_text()) if noted.exists() else 0

    dies.prepare()
    until(lambda: starts() == 4 and pid_of(dies) is None)
    dies.prepare()
    assert pid_of(dies) is None
    dies.begin()
    dies.end()
    until(lambda: starts() > 4)


def test_none_is_made_while_a_run_is_at_work(spares: Spares) -> None:
    spares.begin()
    spares.begin()
    spares.prepare()
    assert pid_of(spares) is None
    spares.end()
    assert pid_of(spares) is None
    spares.end()
    until(lambda: pid_of(spares))


@pytest.mark.parametrize(
    ("command", "other"),
    [
        ([sys.executable, "-m", "prefect.engine"], {}),
        (["uv", *SUPERVISOR, "of-run.json"], {}),
        (COMMAND, {"stream_output": False}),
        (COMMAND, {"start_new_session": False}),
        (COMMAND, {"cwd": None}),
        (COMMAND, {"user": "nobody"}),
    ],
)
def test_what_a_pool_wants_otherwise_is_prefects(
    command: list[str], other: dict[str, Any], spares: Spares, tmp_path: Path
) -> None:
    cold = Cold()
    spares.prepare()
    before = pid_of(spares)
    assert run(giving(cold, spares), command, **options(tmp_path, **other)) == "cold"
    assert cold.started == [command]
    assert pid_of(spares) == before


def test_prefect_starts_runs_as_spares_know_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its own code: another version of Prefect may do otherwise, and then each run is a new process."""
    from uuid import uuid4

    from prefect.client.schemas.objects import FlowRun
    from prefect.runner import _starter_engine, _workspace_starter

    asked: list[tuple[list[str], dict[str, Any]]] = []

    async def note(command: list[str], **options: Any) -> None:
        asked.append((command, options))

    monkeypatch.setattr(_starter_engine, "run_process", note)
    starter = _workspace_starter.WorkspaceResolvingEngineCommandStarter(
        workspace_root=tmp_path, source_cwd=tmp_path, environment={**os.environ, "PREFECT__X": "1"}
    )
    anyio.run(starter.start, FlowRun(id=uuid4(), flow_id=uuid4()))
    ((command, options),) = asked
    options = {name: value for name, value in options.items() if not name.startswith("task_status")}
    assert worker._is_for_spares(command, options.pop("stream_output"), options)
    of_run = {name: text for name, text in options["env"].items() if not name.startswith("PREFECT__")}
    assert of_run == worker._environment_of_runs()


def test_an_order_travels_in_a_line() -> None:
    order = Order(["a", "b\nc"], "/folder", {"NAME": "two\nlines", "Ü": "é"})
    assert order.to_line().count(b"\n") == 1
    assert Order.of_line(order.to_line()) == order
