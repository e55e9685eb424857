"""Signals from outside, at moments drawn by a seed, to every process of an `adhmr run`; with a deadline for its end.

`python -m tests.faults.signals FOLDER [target ...]` sends them by hand and prints what came of each.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from infra import rounds
from infra.store import Store
from tests.faults.tables import different, visible
from tests.marked import MARK, marked

ROOT = Path(__file__).resolve().parents[2]
STOPPED_SECONDS = 20.0
SIGNALS = ("KILL", "TERM", "INT", "HUP", "STOP")
"""STOP is followed by CONT."""
ENDS = {0, 2} | {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)}
"""Exit codes that a person can act on: done, or one line and go on. 1 would be a defect."""
Finder = Callable[[psutil.Process, list[psutil.Process]], Iterable[psutil.Process]]


def _titled(*beginnings: str) -> Finder:
    return lambda _, below: (one for one in below if " ".join(one.cmdline()).startswith(beginnings))


def _named(name: str) -> Finder:
    return lambda _, below: (one for one in below if one.name() == name)


TARGETS: dict[str, Finder] = {
    "command": lambda command, _: [command],
    "driver": lambda command, below: (
        one for one in below if one.ppid() == command.pid and one.cmdline() == command.cmdline()
    ),
    "worker": _titled("ray::Map(", "ray::_fit"),
    "raylet": _named("raylet"),
    "gcs": _named("gcs_server"),
    "agent": _titled("ray::DashboardAgent"),
    "server": lambda _, below: (one for one in below if "flows.serve.temporary_server" in one.cmdline()),
}


class Sent(NamedTuple):
    """What came of a run: how it ended, what it said, after how long, and when the signal was sent, if it was."""

    code: int
    said: str
    seconds: float
    sent_at: float | None
    left: list[str]


@dataclass
class Runs:
    """Runs of `adhmr run` on stores in a folder; `undisturbed_seconds` of one from the beginning to the end."""

    folder: Path
    undisturbed_seconds: float = 600.0

    @property
    def deadline_seconds(self) -> float:
        return 3 * self.undisturbed_seconds + 30

    @staticmethod
    def begin(folder: Path) -> "Runs":
        """An undisturbed run, for its rows and its time."""
        runs = Runs(folder)
        done = runs.run("undisturbed")
        assert done.code == 0, done.said
        runs.undisturbed_seconds = done.seconds
        return runs

    def run(self, store: str, target: str = "", name: str = "", moment: float = 0.0) -> Sent:
        """A run, until its end or the deadline; a signal goes to the target once it lives and the moment has come."""
        mark = uuid.uuid4().hex
        with tempfile.TemporaryFile("w+") as said:
            began, sent_at = time.monotonic(), None
            process = self._start(store, mark, said.fileno())
            try:
                while process.poll() is None and time.monotonic() - began < self.deadline_seconds:
                    time.sleep(0.02)
                    if target and sent_at is None and time.monotonic() - began >= moment:
                        sent_at = _send(process.pid, target, name, began)
                code, seconds = process.poll(), time.monotonic() - began
                left = _left_soon(mark)
                said.seek(0)
                text = said.read()
                assert code is not None, f"still there after {seconds:.0f} s\n{text}\n{left}"
                return Sent(code, text, seconds, sent_at, left)
            finally:
                for one in marked(mark):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
                process.wait()

    def disturb(self, store: str, target: str, name: str, draw: random.Random) -> list[str]:
        """A run that gets the signal at some moment, and goes on where the one before it was; what is wrong.

        If it ends before the signal is due it is done again, on a new store, with half the time.
        """
        wrong, moment = [], draw.uniform(0, 0.8) * self.undisturbed_seconds
        while True:
            done = self.run(store, target, name, moment)
            at = "never sent" if done.sent_at is None else f"at {done.sent_at:.1f} s"
            what = f"{name} to {target}, {at}: {done.code} after {done.seconds:.1f} s"
            print(f"{what}  {_last_line(done.said)}", flush=True)
            if done.code not in ENDS | {-getattr(signal, f"SIG{name}")} or "Traceback" in done.said:
                wrong.append(f"{what}\n{done.said}")
            if done.left:
                wrong.append(f"{what}: left {done.left}")
            if self._is_over(store):  # a signal may come after that, on the way out
                wrong += [f"{what}: {table}" for table in self._differences(store)]
            if done.sent_at is not None or done.code != 0:
                return wrong
            moment /= 2

    def finish(self, store: str) -> list[str]:
        """A run without a signal; what is wrong then."""
        done = self.run(store)
        if done.code != 0:
            return [f"undisturbed, after all: {done.code}\n{done.said}"]
        return [f"after all: {table}" for table in self._differences(store)]

    def _is_over(self, store: str) -> bool:
        """Whether the round has ended; the next run would begin another."""
        if not (self.folder / store / "adhmr-store.json").exists():
            return False
        state = rounds.state(Store.open(self.folder / store, create=False), "micro")
        return state.round == 1 and not state.is_open

    def _differences(self, store: str) -> list[str]:
        """The tables in which a store, which is removed, differs from the undisturbed one."""
        one, other = (Store.open(self.folder / name, create=False) for name in (store, "undisturbed"))
        found = different(visible(one), visible(other))
        shutil.rmtree(self.folder / store)
        return found

    def _start(self, store: str, mark: str, said: int) -> subprocess.Popen[bytes]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return subprocess.Popen(
            [
                "env",
                "--default-signal=INT,HUP,TERM",
                sys.executable,
                "-m",
                "flows.cli.main",
                "run",
                "--profile",
                "micro",
                "--store",
                str(self.folder / store),
            ],  # what starts a process in the background lets it ignore INT
            cwd=ROOT,
            env={**plain, "PREFECT_HOME": str(self.folder / "prefect"), MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def _send(command: int, target: str, name: str, began: float) -> float | None:
    """Seconds since the beginning, if the target was there."""
    try:
        root = psutil.Process(command)
        one = next(iter(TARGETS[target](root, root.children(recursive=True))), None)
        if one is None:
            return None
        one.send_signal(getattr(signal, f"SIG{name}"))
        if name == "STOP":
            time.sleep(STOPPED_SECONDS)
            one.send_signal(signal.SIGCONT)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None  # it ended while it was looked at
    return time.monotonic() - began


def _left_soon(mark: str) -> list[str]:
    """The processes of a run that are there ten seconds after its end."""
    deadline = time.monotonic() + 10
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [repr(one) for one in left]


def _last_line(said: str) -> str:
    return ([line for line in said.splitlines() if line.startswith("adhmr: ")] or [""])[-1]


if __name__ == "__main__":
    given = Runs.begin(Path(sys.argv[1]))
    print(f"undisturbed: {given.undisturbed_seconds:.1f} s")
    for chosen in sys.argv[2:] or TARGETS:
        drawn = random.Random(chosen)
        found = [line for name in SIGNALS for line in given.disturb(chosen, chosen, name, drawn)]
        for line in found + given.finish(chosen):
            print("WRONG", line, flush=True)
