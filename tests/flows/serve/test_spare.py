"""A spare: what it notices of a changed world, and, served, that runs in it are runs as any other."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID, uuid4

import prefect.engine
import pytest
from prefect.runner import _workspace_supervisor as supervisor
from prefect.runner._workspace_resolver import PreparedWorkspace
from prefect.runner._workspace_runtime import WorkspaceSupervisorConfig, write_private_model

from flows.serve import spare
from flows.serve.handover import READY, SUPERVISOR, Order
from flows.serve.place import WORKER
from flows.serve.spare import State, changed, modules_of, stamps_of_sources
from tests.flows.person import ROOT, Person

DEPLOYMENTS = """
name: told
pull:
  - prefect.deployments.steps.set_working_directory: {directory: FOLDER}
deployments:
"""
DEPLOYMENT = "  - {name: NAME, entrypoint: told_flows.NAME, work_pool: {name: adhmr}}\n"


def test_it_loads_what_deployments_name(tmp_path: Path) -> None:
    assert "flows.dpo_round" in set(modules_of(ROOT / "prefect.yaml"))
    assert len(list(modules_of(ROOT / "prefect.yaml"))) == len(set(modules_of(ROOT / "prefect.yaml")))
    own = tmp_path / "prefect.yaml"
    assert list(modules_of(own)) == []
    own.write_text("deployments: [{entrypoint: 'own.py:flow'}, {entrypoint: own.flows.one}, {name: none}]")
    assert list(modules_of(own)) == ["own.flows"]
    for broken in ("[", "deployments: 3", "- list"):
        own.write_text(broken)
        assert list(modules_of(own)) == []


def test_it_notices_another_environment() -> None:
    before = State.now({"A": "1", "PREFECT__FLOW_RUN_ID": "x", "PYTHONPATH": "/a"})
    assert State.now({"A": "1", "PREFECT__FLOW_RUN_ID": "y", "PYTHONPATH": "/b"}) == before
    assert State.now({"A": "2"}) != before
    assert State.now({}) != before


def test_it_notices_a_module_that_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "a_module_of_a_user.py"
    module.write_text("A = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("a_module_of_a_user")
    stamps = stamps_of_sources()
    assert str(module) in stamps
    assert not any(path.startswith(sys.prefix) for path in stamps)
    assert not changed(stamps)
    module.write_text("A = 12")
    assert changed(stamps)
    module.unlink()
    assert changed(stamps)


class TakenOverError(Exception):
    """What stands for the end of a process's Python, as another program takes its place."""


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Order]]:
    """The orders by which this process was taken over; its environment, arguments and modules are put back."""
    orders: list[Order] = []
    environment = dict(os.environ)

    def take_over(order: Order) -> NoReturn:
        orders.append(order)
        raise TakenOverError

    monkeypatch.setattr(Order, "take_over", take_over)
    monkeypatch.setattr(supervisor, "_launch_engine", supervisor._launch_engine)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setitem(sys.modules, "prefect.engine", prefect.engine)
    yield orders
    os.environ.clear()
    os.environ.update(environment)


def order_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, found: Path, entry: str = "", **of_steps: str
) -> tuple[Order, list[str]]:
    """What Prefect's worker would start for a run; and which programs ran.

    Prefect's own code prepares the workspace, but for what its server and the steps of the deployment do: these end in
    the folder `found`, with `of_steps` in the environment, or fail where there is no entrypoint.
    """
    run, root, file = uuid4(), folder / "root", folder / "of-run.json"
    root.mkdir()

    async def prepared(of: UUID, at: Path) -> PreparedWorkspace:
        assert (of, at, Path.cwd()) == (run, root, root)
        if not entry:
            raise ValueError("no such deployment")
        environment = {**os.environ, **of_steps}
        return PreparedWorkspace(
            workspace_root=at,
            working_directory=found,
            runtime_entrypoint=entry,
            environment=environment,
            sys_path=["/of-steps"],
        )

    ran: list[str] = []
    monkeypatch.setattr(supervisor, "prepare_workspace_for_flow_run", prepared)
    monkeypatch.setattr(runpy, "run_module", lambda name, run_name: ran.append(f"{name} as {run_name}"))
    config = WorkspaceSupervisorConfig(flow_run_id=run, workspace_root=root, manifest_path=folder / "manifest.json")
    write_private_model(file, config)
    said = {"PREFECT__FLOW_RUN_ID": str(run), "PREFECT__CONTROL_PORT": "1234"}
    return Order([sys.executable, *SUPERVISOR, str(file)], str(root), {**os.environ, **said}), ran


@pytest.mark.slow
def test_it_runs_what_prefects_supervisor_would_become(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[Order]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("A_RAY_SESSION_HAS_SET", "this")
    order, ran = order_for(tmp_path, monkeypatch, ROOT, "told_flows.tells")
    del order.environment["A_RAY_SESSION_HAS_SET"]
    spare._run(order)
    assert ran == ["prefect.engine as __main__"]
    assert taken == []
    assert sys.argv == ["prefect.engine"]
    assert Path.cwd() == ROOT
    expected = {"FLOW_ENTRYPOINT": "told_flows.tells", "CONTROL_PORT": "1234"}
    assert {name: os.environ[f"PREFECT__{name}"] for name in expected} == expected
    assert (tmp_path / "manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("other", ["folder", "environment"])
def test_what_steps_of_a_deployment_change_takes_it_over(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[Order]
) -> None:
    """By Prefect's own program, which does them again."""
    monkeypatch.chdir(ROOT)
    found, of_steps = (tmp_path, {}) if other == "folder" else (ROOT, {"ADHMR_STORE": "elsewhere"})
    order, ran = order_for(tmp_path, monkeypatch, found, "told_flows.tells", **of_steps)
    with pytest.raises(TakenOverError):
        spare._run(order)
    assert taken == [order]
    assert ran == []


@pytest.mark.slow
def test_a_workspace_that_can_not_be_prepared_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[Order]
) -> None:
    monkeypatch.chdir(ROOT)
    order, ran = order_for(tmp_path, monkeypatch, ROOT)
    with pytest.raises(SystemExit, match="1"):
        spare._run(order)
    assert ran == []
    assert taken == []


def process_of(folder: Path) -> "subprocess.Popen[str]":
    """One that has no Ray to join."""
    known = ("PREFECT", "RAY", "ADHMR")
    plain = {name: text for name, text in os.environ.items() if not name.startswith(known)}
    command = [sys.executable, "-m", "flows.serve.spare"]
    return subprocess.Popen(
        command,
        env={**plain, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_it_ends_with_its_worker(tmp_path: Path) -> None:
    """While it loads, too."""
    process = process_of(tmp_path)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert READY not in out


@pytest.mark.slow
def test_what_it_is_not_ready_for_takes_it_over(tmp_path: Path) -> None:
    """Another environment, here; the process stays the one that Prefect knows of."""
    process = process_of(tmp_path)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline().startswith(READY)
    folder = tmp_path / "of the run"
    folder.mkdir()
    tell = "import os; print(os.getpid(), os.environ['OTHER'], os.getcwd())"
    order = Order([sys.executable, "-c", tell], str(folder), {"OTHER": "yes", "PATH": os.environ["PATH"]})
    process.stdin.write(order.to_line().decode())
    process.stdin.flush()
    assert process.stdout.readline() == f"{process.pid} yes {folder}\n"
    assert process.wait(60) == 0


class Served:
    """A person who serves deployments of their own from a folder, with runs told in a file."""

    def __init__(self, folder: Path) -> None:
        self.works_in, self.told = folder / "own", folder / "told.txt"
        self.works_in.mkdir()
        self.flows = self.works_in / "told_flows.py"
        shutil.copy(Path(__file__).with_name("told_flows.py"), self.flows)
        names = ("tells", "dies", "sleeps")
        listed = "".join(DEPLOYMENT.replace("NAME", name) for name in names)
        text = DEPLOYMENTS.replace("FOLDER", str(self.works_in)) + listed
        (self.works_in / "prefect.yaml").write_text(text)
        shutil.copy(ROOT / "prefect.toml", self.works_in)
        self.person = Person(folder / "served", str(folder / "store"), works_in=self.works_in)
        self.person.environment |= {"TOLD": str(self.told), "PYTHONPATH": f"{self.works_in}{os.pathsep}{ROOT}"}

    def ready(self, times: int) -> None:
        """Wait until a spare has said for the so many-th time that it is ready."""
        log = self.person.folder / "worker.log"
        self.until(lambda: log.read_text(errors="replace").count(READY) == times)

    def run(self, kind: str) -> dict[str, Any]:
        """What a run tells of its process, after its end."""
        before = len(self.lines())
        words = ["deployment", "run", f"{kind}/{kind}", "--watch"]
        subprocess.run(
            [sys.executable, "-m", "prefect", *words], env=self.person.environment, cwd=self.works_in, timeout=600
        )
        (line,) = self.lines()[before:]
        return line

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.told.read_text().splitlines()] if self.told.exists() else []

    def states(self) -> list[str]:
        """The states of all runs, in their order."""
        return [run.state_name or "" for run in self.person.runs()]

    def until(self, true: Callable[[], Any], seconds: float = 300.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end
            time.sleep(0.2)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    found = Served(tmp_path)
    found.person.serves()
    try:
        yield found
    except BaseException:
        found.person.print_logs()
        raise
    finally:
        found.person.stops()


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_runs_share_nothing_and_end_as_any_other(served: Served) -> None:
    worker = served.person.services.alive()[WORKER]
    served.ready(1)
    first = served.run("tells")
    expected = {"program": "flows.serve.spare", "folder": str(served.works_in), "on_ray": True, "version": 1}
    assert {name: first[name] for name in expected} == expected

    served.ready(2)
    assert served.run("dies")["program"] == "flows.serve.spare"
    served.until(lambda: served.states() == ["Completed", "Crashed"])

    served.ready(3)
    again = served.run("tells")
    assert again["seen"] == ["tells"]
    assert again["program"] == "flows.serve.spare"
    assert again["pid"] != first["pid"]

    served.ready(4)
    served.person.says("prefect", "deployment", "run", "sleeps/sleeps")
    served.until(lambda: len(served.lines()) == 4)
    sleeping = served.lines()[-1]
    assert sleeping["program"] == "flows.serve.spare"
    served.person.says("prefect", "flow-run", "cancel", str(served.person.runs()[-1].id))
    served.until(lambda: served.states()[-1] == "Cancelled")
    served.until(lambda: not is_alive(sleeping["pid"]))

    served.ready(5)
    served.flows.write_text(served.flows.read_text().replace("VERSION = 1", "VERSION = 23"))
    anew = served.run("tells")
    assert (anew["program"], anew["version"]) == ("prefect.engine", 23)
    assert served.states()[-1] == "Completed"
    assert served.person.services.alive()[WORKER] == worker
