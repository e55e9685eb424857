"""A Prefect server of our own: started where none is named, and gone with the process that started it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.temporary_server import begin_server

ROOT = Path(__file__).resolve().parents[2]
SERVED = """
import json, os, sys, time
from flows.quiet import quiet_start
from flows.temporary_server import begin_server
quiet_start()
ready = begin_server()
ready()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    said = {"version": client.api_version(), "url": str(client.api_url)}
import psutil
servers = [one.pid for one in psutil.Process().children() if "flows.temporary_server" in " ".join(one.cmdline())]
print(json.dumps({**said, "servers": servers, "modules": "prefect.server.api.server" in sys.modules}), flush=True)
if sys.argv[1] == "stay":
    time.sleep(60)
"""


def serve(tmp_path: Path, how: str) -> subprocess.Popen[str]:
    names = {"PREFECT_API_URL", "PREFECT_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment["PREFECT_HOME"] = str(tmp_path)
    command = [sys.executable, "-c", SERVED, how]
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
def test_it_serves_and_ends_with_its_process(tmp_path: Path, how: str) -> None:
    with serve(tmp_path, how) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        (server,) = said["servers"]
        assert said["version"].startswith("3.")
        assert said["url"].startswith("http://127.0.0.1:")
        assert not said["modules"]
        if how == "stay":
            process.send_signal(signal.SIGKILL)
        assert process.stderr is not None
        assert process.stderr.read().splitlines() == ["starting Prefect ..."]
    assert gone(server, 10.0)


def test_a_server_that_is_named_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr(subprocess, "Popen", None)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}):
        begin_server()()
