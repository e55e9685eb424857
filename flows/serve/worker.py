"""Prefect's worker, with a process at hand that has everything loaded: the next run gets it in place of a new one.

    python -m flows.serve.worker --pool adhmr …     (the words of `prefect worker start`)

A spare (`flows.serve.spare`) is made when the worker starts and whenever no run is at work any more, so that it takes
no core from one; runs that come meanwhile are new processes, as they are without it. How runs are watched, cancelled
and told of remains Prefect's.
"""

import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import anyio
import anyio.to_thread

from flows.serve.handover import SUPERVISOR, Order

PATIENCE_SECONDS: Final = 30.0
"""Before a spare that died is replaced; and if the next three die as well, none is made until a run was at work."""
_DEATHS: Final = 3
_KNOWN: Final = {"env", "cwd", "start_new_session"}
"""What Prefect says beside the command. A spare is told folder and environment, and has a session of its own."""


class Running:
    """A process that a run was given to, as Prefect looks at those that it starts."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    async def wait(self) -> int:
        """Its exit code, when it has ended; what is cancelled meanwhile ends it by force."""
        try:
            return await anyio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()


class Spares:
    """The process that waits for the next run, if there is one."""

    def __init__(self, command: list[str], environment: Callable[[], Mapping[str, str]]) -> None:
        self._command, self._environment = command, environment
        self._lock = threading.Lock()
        self._waiting: subprocess.Popen[bytes] | None = None
        self._at_work = self._deaths = 0

    @property
    def waiting(self) -> "subprocess.Popen[bytes] | None":
        """The one that waits, or loads what it needs."""
        with self._lock:
            return self._waiting

    def prepare(self) -> None:
        """Start one, unless it is there, or a run needs the machine."""
        with self._lock:
            if self._waiting is not None or self._at_work or self._deaths > _DEATHS:
                return
            self._waiting = started = subprocess.Popen(
                self._command, env=dict(self._environment()), stdin=subprocess.PIPE, start_new_session=True
            )
        threading.Thread(target=self._watch, args=[started], name="spare", daemon=True).start()

    def begin(self) -> None:
        """A run begins."""
        with self._lock:
            self._at_work += 1

    def end(self) -> None:
        """A run has ended."""
        with self._lock:
            self._at_work -= 1
            self._deaths = 0
        self.prepare()

    def give(self, order: Order) -> "subprocess.Popen[bytes] | None":
        """The process that now does as the order says; None if none waits, or it has just died."""
        with self._lock:
            process, self._waiting = self._waiting, None
        if process is None or process.poll() is not None:
            return None
        assert process.stdin is not None
        try:
            process.stdin.write(order.to_line())
            process.stdin.close()
        except BrokenPipeError:
            return None
        return process

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Replace a process that dies while it waits: by hand, for want of memory, or with the Ray that it joined."""
        process.wait()
        with self._lock:
            if self._waiting is not process:
                return
            self._waiting = None
            self._deaths += 1
        time.sleep(PATIENCE_SECONDS)
        self.prepare()


def giving(start: Callable[..., Awaitable[Any]], spares: Spares) -> Callable[..., Awaitable[Any]]:
    """Prefect's way to start the process of a run and wait for its end, but that a spare gets what it can do."""

    async def start_or_give(
        command: list[str],
        *,
        stream_output: Any = False,
        task_status: Any = None,
        task_status_handler: Any = None,
        **options: Any,
    ) -> Any:
        spares.begin()
        try:
            given = None
            if _is_for_spares(command, stream_output, options):
                given = spares.give(Order(command, str(options["cwd"]), options["env"]))
            if given is None:
                return await start(
                    command,
                    stream_output=stream_output,
                    task_status=task_status,
                    task_status_handler=task_status_handler,
                    **options,
                )
            running = Running(given)
            if task_status is not None:
                task_status.started(task_status_handler(running) if task_status_handler else running.pid)
            await running.wait()
            return running
        finally:
            spares.end()

    return start_or_give


def _is_for_spares(command: list[str], stream_output: Any, options: Mapping[str, Any]) -> bool:
    """Whether this is how Prefect starts runs of a pool that says nothing of its own of how it is to be done."""
    begins = [sys.executable, *SUPERVISOR]
    known = options.keys() == _KNOWN and options["start_new_session"] and options["cwd"] and options["env"]
    return command[: len(begins)] == begins and stream_output is True and bool(known)


def _environment_of_runs() -> dict[str, str]:
    """What every run finds in its environment, whichever it is: as Prefect puts it together."""
    from prefect.settings import get_current_settings

    return {**os.environ, **get_current_settings().to_environment_variables(exclude_unset=True)}


def main() -> None:
    """Start the worker."""
    from prefect import __version__

    starter: Any = None
    with suppress(ImportError):
        starter = import_module("prefect.runner._starter_engine")
    if hasattr(starter, "run_process"):
        spares = Spares([sys.executable, "-m", "flows.serve.spare"], _environment_of_runs)
        starter.run_process = giving(starter.run_process, spares)
        spares.prepare()
    else:
        print(f"Prefect {__version__} starts runs in another way than adhmr-engine knows: each is a new process.")
    sys.argv[:] = ["prefect", "worker", "start", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
