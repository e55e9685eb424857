"""A watch over the processes of a local Ray: it has to start within a time, and to stay.

Where its raylet or its GCS dies, Ray itself waits for up to a minute and then ends our process without a word; and a
start whose processes die may never return. So a thread watches them, and says what happened in one line.
"""

import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from subprocess import Popen
from types import FrameType
from typing import Any, Final, Protocol

import psutil
from ray._private import utils as ray_utils
from ray._private import worker as ray_worker
from ray.exceptions import RayError

from infra import ending
from infra.processes import end_all
from schemas.errors import EngineError

START_SECONDS = 90.0
"""Ray itself waits 30 s each for its GCS and its raylet, but has no end to its wait for what comes after them."""
LEAVE_SECONDS = 10.0
"""For the main thread to end well when Ray is lost."""
_LOOK_SECONDS = 0.5
_SIGNAL = signal.SIGUSR1
_NEEDED = ("raylet", "gcs_server")
_OF_THE_END = re.compile("Raylet is terminated|has been marked dead because")
_lost: Final[list[str]] = []
"""Why Ray is lost, if it is: for all threads of this process."""


class _Started(Protocol):
    """A process as Ray notes it."""

    @property
    def process(self) -> Popen[bytes]: ...


class RayLostError(EngineError):
    """A process without which Ray can't go on has ended."""


@contextmanager
def start_deadline(seconds: float = START_SECONDS) -> Iterator[None]:
    """End this process, with a line, if the block takes longer: a call into Ray that hangs can't be ended otherwise."""
    started = threading.Event()

    def watch() -> None:
        if not started.wait(seconds):
            ending.end_now(
                f"Ray did not start within {seconds:.0f} s. If the machine is very busy or its memory is full, run the "
                "same command again later.",
                again=True,
            )

    threading.Thread(target=watch, name="ray-start", daemon=True).start()
    try:
        yield
    finally:
        started.set()


@contextmanager
def own_children() -> Iterator[None]:
    """Should the block fail, end what it has started: Ray leaves the processes of a start that failed alone."""
    me = psutil.Process()
    before = {one.pid for one in me.children(recursive=True)}
    try:
        yield
    except BaseException:
        end_all([one for one in me.children(recursive=True) if one.pid not in before])
        raise


@contextmanager
def watched(
    processes: Mapping[str, Sequence[_Started]], gcs_address: str, shut_down: Callable[[], None]
) -> Iterator[None]:
    """Raise RayLostError in the main thread as soon as one of Ray's processes that it needs has ended; shut down after.

    `processes` are Ray's own on this machine, by their kind; a GCS among them is one at `gcs_address` (host:port). If
    Ray is lost and the block isn't left and shut down soon, as a call hangs perhaps, this process is ended with the
    error's line.
    """
    lost = _lost
    lost.clear()
    leaving, left = threading.Event(), threading.Event()
    main = threading.main_thread() if threading.current_thread() is threading.main_thread() else None

    def raise_lost(_signal: int, _frame: FrameType | None) -> None:
        if not leaving.is_set():
            raise RayLostError(lost[0])

    def watch() -> None:
        while not (lost or leaving.wait(_LOOK_SECONDS)):
            if ended := _ended(processes) or _gone_deaf(processes, gcs_address):
                lost.append(
                    f"Ray's {ended}: killed by hand, or by the system for want of memory, or its files have no room. "
                    "Run the same command again to go on: what is finished stays."
                )
        if lost:
            ending.foretell()  # Ray's own code may keep the interpreter, and with it this thread, from doing anything
            end_all(_living(processes))  # else what is left of it keeps calls waiting for what never comes
            if main is not None and main.ident is not None:
                signal.pthread_kill(main.ident, _SIGNAL)
            if not left.wait(LEAVE_SECONDS):
                ending.end_now(lost[0])

    before: Any = signal.signal(_SIGNAL, raise_lost) if main else None
    threading.Thread(target=watch, name="ray-watch", daemon=True).start()
    try:
        with as_raised():
            yield
    finally:
        leaving.set()
        shut_down()
        left.set()
        if main:
            signal.signal(_SIGNAL, before)


@contextmanager
def as_raised() -> Iterator[None]:
    """What a signal's handler raises while Ray waits comes out of Ray's C code as a SystemError: raise it as it was.

    The handler's thread is the main one. Another, which works beside it, is told by Ray alone that it was shut down:
    once Ray is lost that is a RayLostError, too, and so is what was made of it.
    """
    try:
        yield
    except SystemError as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None
    except (RayError, EngineError) as error:
        if _lost and (isinstance(error, RayError) or isinstance(error.__cause__, RayError)):
            raise RayLostError(_lost[0]) from None
        raise


@contextmanager
def signals_left_alone() -> Iterator[None]:
    """Keep Ray from taking SIGTERM over for the rest of the process, as it does when it starts."""
    before = ray_utils.set_sigterm_handler
    ray_utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = before
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))  # which Ray's C++ has taken over as well


def keep_quiet_about_the_end() -> None:
    """Keep Ray from printing the end of its raylet's log, when that has ended: the watch says so in a line."""
    printing = ray_worker.print_to_stdstream

    def print_others(data: dict[str, Any], *arguments: Any, **options: Any) -> None:
        if not any(_OF_THE_END.search(line) for line in data.get("lines", ())):
            printing(data, *arguments, **options)

    if printing.__name__ != print_others.__name__:
        ray_worker.print_to_stdstream = print_others


def _ended(processes: Mapping[str, Sequence[_Started]]) -> str:
    """Which of Ray's processes has ended though it is needed, and how; empty if none has."""
    for kind in _NEEDED:
        for one in processes.get(kind, ()):
            code = one.process.poll()
            if code is not None:
                how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
                return f"{kind} has ended ({how})"
    return ""


def _gone_deaf(processes: Mapping[str, Sequence[_Started]], gcs_address: str) -> str:
    """Whether a GCS that was asked to end has: it stops listening and stays, and its callers wait for a minute."""
    host, _, port = gcs_address.rpartition(":")
    if processes.get("gcs_server"):
        try:
            socket.create_connection((host, int(port)), _LOOK_SECONDS).close()
        except ConnectionRefusedError:
            return "gcs_server has ended (it listens no more)"
        except OSError:  # too busy to answer, or stopped for a while
            pass
    return ""


def _living(processes: Mapping[str, Sequence[_Started]]) -> list[psutil.Process]:
    """Those of Ray's processes that live, with what they have started."""
    living_processes = []
    for one in chain.from_iterable(processes.values()):
        with suppress(psutil.NoSuchProcess):
            if one.process.poll() is None:
                living = psutil.Process(one.process.pid)
                living_processes += [living, *living.children(recursive=True)]
    return living_processes
