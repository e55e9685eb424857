"""A command under its supervisor: every end has one line, an exit code, and leaves no process."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.marked import MARK, marked

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
BEGIN = """
import os, signal, subprocess, sys, time
from flows.process import supervised
from infra import ending
from schemas.errors import DataError
supervised.GRACE_SECONDS = 2.0
def ready():
    print(os.getpid(), flush=True)
def work():
"""
END = "\nsupervised.supervised(work)\n"
SLEEPS = "ready(); time.sleep(60)"
DEAF = "import ctypes; ready(); ctypes.PyDLL(None).sleep(60)"
"""A call that keeps Python from doing anything: no handler of a signal can run."""


class Command:
    """A process that does `body` under a supervisor; `child` is the process that works, once it has said so."""

    def __init__(self, body: str, how: str = "", grace_seconds: float = 2.0) -> None:
        self.mark = uuid.uuid4().hex
        script = (
            BEGIN.replace("GRACE_SECONDS = 2.0", f"GRACE_SECONDS = {grace_seconds}")
            + "".join(f"    {line}\n" for line in body.splitlines())
            + END
        )
        command = [sys.executable, "-c", script]
        self.process = subprocess.Popen(
            # what starts the tests may ignore signals: nohup, or a shell with a command in the background
            ["env", "--default-signal=INT,HUP,TERM", *([how] if how else []), *command],
            cwd=ROOT,
            env={**os.environ, MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def until_ready(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def end(self) -> tuple[int, str]:
        """Exit code and what it said on standard error. No process of it is left soon afterwards."""
        _, said = self.process.communicate(timeout=60)
        deadline = time.monotonic() + 10
        while marked(self.mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert marked(self.mark) == []
        return self.process.returncode, said


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("print('done')", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("raise DataError('no pictures')", 2, "adhmr: no pictures\n"),
        ("os._exit(1)", 2, "ended, with code 1, by a library that could not go on"),
        ("os.abort()", 2, "ended, with signal SIGABRT, by a library that could not go on"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "was killed (SIGKILL), by hand or by the system"),
        ("import atexit; atexit.register(os.abort); sys.exit(4)", 4, ""),
        ("import atexit; atexit.register(time.sleep, 60); sys.exit(5)", 5, ""),
        ("subprocess.Popen(['sleep', '60'], start_new_session=True); sys.exit(0)", 0, ""),
    ],
)
def test_ends(body: str, code: int, said: str) -> None:
    """Also where the interpreter's own end is aborted or hangs, and where the work leaves a process behind."""
    ended, text = Command(body).end()
    assert ended == code, text
    assert said in text
    assert text.count("\n") == (1 if said else 0), text


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (f"ending.foretell(); {DEAF}", 2, "adhmr: Ray was lost, and the work could not end by itself"),
        ("ending.foretell(); raise DataError('Ray is gone')", 2, "adhmr: Ray is gone\n"),
        ("ending.foretell(); time.sleep(0.7); sys.exit(3)", 3, ""),
    ],
    ids=["deaf", "in plain words", "as it likes"],
)
def test_what_can_not_go_on_is_ended(body: str, code: int, said: str) -> None:
    ended, text = Command(body).end()
    assert (ended, text.count("\n")) == (code, 1 if said else 0), text
    assert text.startswith(said)


def test_a_defect_has_its_traceback() -> None:
    code, said = Command("1 / 0").end()
    assert code == 1
    assert said.startswith("Traceback")
    assert said.endswith("ZeroDivisionError: division by zero\n")


TERM, HUP, INT = (signal.SIGTERM, " by SIGTERM"), (signal.SIGHUP, " by SIGHUP"), (signal.SIGINT, "")


@pytest.mark.parametrize(
    ("sent", "whom", "body"),
    [(sent, whom, SLEEPS) for sent in (TERM, HUP, INT) for whom in ("supervisor", "work", "both")]
    + [(TERM, "supervisor", DEAF), (INT, "both", DEAF)],
)
def test_signals(sent: tuple[signal.Signals, str], whom: str, body: str) -> None:
    """To whichever of the two processes, as terminals and service managers differ; also to one that can't listen."""
    number, name = sent
    command = Command(body)
    child = command.until_ready()
    if whom == "both":
        os.killpg(command.process.pid, number)
    else:
        os.kill(command.process.pid if whom == "supervisor" else child, number)
    assert command.end() == (128 + number, f"adhmr: stopped{name}; run the same command again to go on\n")


def test_a_second_signal_is_impatience() -> None:
    command = Command(DEAF.replace("import", "supervised.GRACE_SECONDS = 50.0; import", 1))
    command.until_ready()
    for _ in range(2):
        os.kill(command.process.pid, signal.SIGTERM)
        time.sleep(1.2)
    began = time.monotonic()
    assert command.end()[0] == 143
    assert time.monotonic() - began < 10


def test_what_it_was_started_to_ignore_it_ignores() -> None:
    command = Command("ready(); time.sleep(1.5); print('went on')", how="nohup")
    child = command.until_ready()
    for process in (command.process.pid, child):
        os.kill(process, signal.SIGHUP)
    assert command.end()[0] == 0


def test_a_supervisor_that_is_killed_takes_the_work_with_it() -> None:
    command = Command(SLEEPS)
    command.until_ready()
    command.process.kill()
    assert command.end()[0] == -signal.SIGKILL


@pytest.mark.parametrize("times", [1, 2])
def test_a_start_of_ray_that_hangs_is_tried_once_more(tmp_path: Path, times: int) -> None:
    body = (
        f"tried = {str(tmp_path / 'tried')!r}\n"
        "count = len(open(tried).read()) if os.path.exists(tried) else 0\n"
        "open(tried, 'a').write('x')\n"
        "from infra.ray_watch import start_deadline\n"
        "with start_deadline(0.2):\n"
        f"    time.sleep(60 if count < {times} else 0)\n"
    )
    code, said = Command(body).end()
    assert (tmp_path / "tried").read_text() == "xx"
    lines = said.splitlines()
    assert lines[0].startswith("adhmr: Ray did not start within 0 s.")
    assert lines[0].endswith("Once more.")
    assert (code, len(lines)) == ((0, 1) if times == 1 else (2, 2))


@pytest.mark.parametrize(
    ("name", "sent", "said"),
    [
        ("raylet", "KILL", "Ray's raylet has ended (signal SIGKILL)"),
        pytest.param("gcs_server", "KILL", "Ray's gcs_server has ended (signal SIGKILL)", marks=pytest.mark.faults),
        ("gcs_server", "TERM", "Ray's gcs_server has ended (it listens no more)"),
    ],
)
def test_a_part_of_ray_ends_in_mid_work(name: str, sent: str, said: str) -> None:
    """Ray alone would wait for a minute; a GCS that is asked to end stays as a process, and answers nobody."""
    body = (
        "import psutil, ray\n"
        "from infra.ray_session import ray_session\n"
        "with ray_session():\n"
        f"    [one] = [one for one in psutil.Process().children(recursive=True) if one.name() == '{name}']\n"
        "    working = ray.remote(lambda: time.sleep(100)).remote()\n"
        f"    one.send_signal(signal.SIG{sent})\n"
        "    ray.get(working)\n"
    )
    code, text = Command(body, grace_seconds=20.0).end()  # the watch needs some seconds to end what is left of Ray
    assert code == 2, text
    assert said in text


@pytest.mark.parametrize("sent", ["TERM", "HUP", "INT"])
def test_a_signal_while_ray_waits(sent: str) -> None:
    """Ray's C code makes another error of what the handler raises."""
    body = (
        "import ray\n"
        "from infra.ray_session import ray_session\n"
        "with ray_session():\n"
        "    working = ray.remote(lambda: time.sleep(100)).remote()\n"
        "    ready()\n"
        "    while not ray.wait([working], timeout=0.5)[0]: pass\n"
    )
    command = Command(body)
    child = command.until_ready()
    time.sleep(1)
    os.kill(child, getattr(signal, f"SIG{sent}"))
    code, text = command.end()
    by = "" if sent == "INT" else f" by SIG{sent}"
    # what Ray's C++ code may write by itself of a task that it ends, where the machine is busy
    text = re.sub(r"^\[[^]]*\] task_manager\.cc:\d+: Failed to push error to driver .*\n", "", text, flags=re.MULTILINE)
    assert (code, text) == (
        128 + getattr(signal, f"SIG{sent}"),
        f"adhmr: stopped{by}; run the same command again to go on\n",
    )
