"""A process with every library loaded, which forks a child for each order: real processes for milliseconds each.

It never does any work itself: Delta's threads, for one, don't live on in a fork. What a child had to load, it loads as
well, so that the next ones have it: half of a child's time went that way.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas.digests import code_digest

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("flows", "infra", "matplotlib", "models", "pandas", "PIL", "ray", "schemas", "scipy", "tasks", "torch")
"""What a child's modules are loaded of: large, and nothing happens by loading them."""


class Order(NamedTuple):
    """Call a function ("module:name") with plain arguments, in a process of its own with these variables besides."""

    call: str
    arguments: Sequence[Any] = ()
    environment: Mapping[str, str] = MappingProxyType({})


class Outcome(NamedTuple):
    """How the process ended; what the function returned, or the class and text of what it raised."""

    returncode: int
    result: Any = None
    error: str = ""
    text: str = ""

    @property
    def was_killed(self) -> bool:
        return self.returncode == -signal.SIGKILL


@dataclass
class Nursery:
    """The forking process, from outside. Close it, or its children may outlive the tests."""

    process: subprocess.Popen[str] = field(
        default_factory=lambda: subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    )

    def together(self, *orders: Order) -> list[Outcome]:
        """Fork a process for each of the orders at once, and wait for all."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(
            json.dumps([[call, list(given), dict(more)] for call, given, more in orders]),
            file=self.process.stdin,
            flush=True,
        )
        return [Outcome(*answer) for answer in json.loads(self.process.stdout.readline())]

    def do(self, call: str, *arguments: Any, fault: str = "", **environment: str) -> Outcome:
        """One order; `fault` is where its process dies."""
        faults = {"ADHMR_FAULT_AT": fault} if fault else {}
        return self.together(Order(call, arguments, {**faults, **environment}))[0]

    def close(self) -> None:
        """End it with all its children."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.communicate()


def _fork(order: Order) -> tuple[int, int]:
    """Process id, and where its answer can be read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    os.dup2(2, 1)  # what the child prints is not for the protocol
    code, answer, known = 1, [], set(sys.modules)
    try:
        os.environ.update(order.environment)
        module, _, name = order.call.partition(":")
        answer = [getattr(importlib.import_module(module), name)(*order.arguments)]
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent tells it
        answer = [None, type(error).__name__, str(error)]
    finally:
        loaded = [] if code else [name for name in set(sys.modules) - known if name.partition(".")[0] in LIBRARIES]
        with open(writing, "wb") as file:
            file.write(json.dumps([answer, loaded]).encode())
        os._exit(code)


def _wait(child: int, reading: int) -> tuple[Outcome, list[str]]:
    """How it ended, and what it had to load."""
    with open(reading, "rb") as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    answer, loaded = json.loads(said) if said else ((), [])
    return Outcome(os.waitstatus_to_exitcode(status), *answer), loaded


def _serve() -> None:
    importlib.import_module("tests.faults.chain")
    code_digest()  # of the code as it was loaded, in all children
    for line in sys.stdin:
        children = [_fork(Order(*order)) for order in json.loads(line)]
        ended = [_wait(*child) for child in children]
        print(json.dumps([outcome for outcome, _ in ended]), flush=True)
        for name in sorted({name for _, loaded in ended for name in loaded} - set(sys.modules)):
            importlib.import_module(name)


if __name__ == "__main__":
    _serve()
