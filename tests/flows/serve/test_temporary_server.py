"""A Prefect server of our own: started where none is named, and gone with the process that started it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.serve.temporary_server import begin_server
from schemas.errors import ConfigError
from tests.flows.serve.strangers import check_that_strangers_are_refused

ROOT = Path(__file__).resolve().parents[3]
SERVED = """
import json, os, sys, time
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server
quiet_start()
ready = begin_server()
ready()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    said = {"version": client.api_version(), "url": str(client.api_url)}
import psutil
servers = [one.pid for one in psutil.Process().children() if "flows.serve.temporary_server" in " ".join(one.cmdline())]
print(json.dumps({**said, "servers": servers, "modules": "prefect.server.api.server" in sys.modules}), flush=True)
if sys.argv[1] == "stay":
    time.sleep(60)
"""


KILLED = """
import sys
import psutil
import flows.serve.temporary_server
from flows.process.errors import clear_errors
from flows.process.quiet import plain_run_errors, quiet_start
flows.serve.temporary_server._STARTS = int(sys.argv[1])
quiet_start()
ready = flows.serve.temporary_server.begin_server()
from prefect import flow, task

@task
def stage(number):
    if number == 1:
        (server,) = (one for one in psutil.Process().children() if "flows.serve.temporary_server" in one.cmdline())
        server.kill()
    print("stage", number, "is done", flush=True)

@flow
def line():
    plain_run_errors()
    for number in range(4):
        stage(number)
    return "the line is through"

ready()
with clear_errors():
    print(line(), flush=True)
"""
AFTER_A_KILL_SECONDS = 30.0


INTERRUPTED = """
import sys, time
import psutil
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server
quiet_start()
ready = begin_server()
time.sleep(float(sys.argv[1]))
(server,) = (one for one in psutil.Process().children() if "flows.serve.temporary_server" in " ".join(one.cmdline()))
server.send_signal(2)
ready()
print("ready", flush=True)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's folder, as somebody has it: the first server has made its tables there, which takes seconds."""
    return tmp_path_factory.mktemp("home")


def serve(home: Path, how: str, script: str = SERVED) -> subprocess.Popen[str]:
    names = {"PREFECT_API_URL", "PREFECT_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment["PREFECT_HOME"] = str(home)
    command = [sys.executable, "-c", script, how]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def gone(process: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while psutil.pid_exists(process) and time.monotonic() < end:
        time.sleep(0.1)
    return not psutil.pid_exists(process)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["leave", "stay"])
def test_it_serves_and_ends_with_its_process(home: Path, how: str) -> None:
    with serve(home, how) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        (server,) = said["servers"]
        assert said["version"].startswith("3.")
        assert said["url"].startswith("http://127.0.0.1:")
        assert not said["modules"]
        if how == "stay":
            secret = psutil.Process(server).environ()["PREFECT_SERVER_API_AUTH_STRING"]
            assert secret not in " ".join(psutil.Process(server).cmdline())
            check_that_strangers_are_refused(int(said["url"].rpartition(":")[2].partition("/")[0]), secret)
            process.send_signal(signal.SIGKILL)
        assert process.stderr is not None
        first, *others = process.stderr.read().splitlines()
        assert first == "starting Prefect ..."
        assert all("WebSocket connection" in line for line in others)  # strangers that were refused
        assert how == "stay" or not others
    assert gone(server, 10.0)


@pytest.mark.slow
@pytest.mark.parametrize("starts", [2, 1])
def test_it_is_killed_in_the_middle(home: Path, starts: int) -> None:
    """Another one takes its place and nothing is lost; where none can, the command ends soon and says how to go on."""
    with serve(home, str(starts), KILLED) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while process.stdout.readline() != "stage 1 is done\n":
            assert process.poll() is None, process.stderr.read()
        killed = time.monotonic()
        said, complained = process.stdout.read(), process.stderr.read()
        process.wait(timeout=AFTER_A_KILL_SECONDS)
        assert time.monotonic() - killed < AFTER_A_KILL_SECONDS
    if starts > 1:
        assert (process.returncode, said) == (0, "stage 2 is done\nstage 3 is done\nthe line is through\n"), complained
        assert "The temporary Prefect server was ended by signal 9: it is started again." in complained
    else:
        assert (process.returncode, said) == (2, "stage 2 is done\nstage 3 is done\n")
        last = complained.splitlines()[-1]
        assert last.startswith("adhmr: The temporary Prefect server ended with code -9, and none takes its place.")
        assert last.endswith("`adhmr status` says how far the round is, and the same command goes on there.")
        assert "Traceback" not in complained


@pytest.mark.slow
@pytest.mark.parametrize(
    "after_seconds", ["0", *(pytest.param(one, marks=pytest.mark.nightly) for one in ("0.1", "0.5"))]
)
def test_an_interrupt_while_it_loads_is_one_line(home: Path, after_seconds: str) -> None:
    with serve(home, after_seconds, INTERRUPTED) as process:
        said, complained = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "ready\n"), complained
    assert complained.splitlines() == [
        "starting Prefect ...",
        "The temporary Prefect server was ended by signal 2: it is started again.",
    ]


def test_a_server_that_is_named_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr(subprocess, "Popen", None)
    with socket.create_server(("127.0.0.1", 0)) as dead:
        url = f"http://127.0.0.1:{dead.getsockname()[1]}/api"
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(ConfigError, match="does not answer"):
        begin_server()
    asked: list[str] = []
    monkeypatch.setattr("flows.serve.temporary_server.why_it_does_not_answer", lambda url: asked.append(url) or "")
    with temporary_settings({PREFECT_API_URL: url}):
        begin_server()()
    assert asked == [url]
