"""The supervisor of a command: a process that waits for the one that works, and sees to its end.

What works may be ended by Ray's own code, by the system for want of memory, or hang in a call that never returns. The
supervisor then says in one line what happened. It passes on SIGTERM, SIGHUP and Ctrl-C, gives the work some seconds to
end well, and then ends it by force; whatever processes are left, it ends as well. If it is killed itself, the work goes
with it.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NamedTuple, NoReturn

import psutil

from flows.process import errors
from flows.process.errors import CURABLE, SIGNALLED, clear_errors, stopped_text
from flows.process.visible import visible
from infra import ending
from infra.processes import end_all

GRACE_SECONDS = 20.0
"""Below the 30 s that Kubernetes and Prefect's workers give."""
_TICK_SECONDS = 0.5
_WORDS = 16
_PATIENT_SECONDS = 1.0
"""A second signal so soon after the first is the same one, sent to both processes."""
_FROM_THE_TERMINAL = 0x80  # SI_KERNEL: the working process, in the same group, has had it too
_TERMINATED = signal.SIGUSR2
"""What SIGTERM is passed on as: Prefect makes its own of that one while a flow runs."""
_PARENT_DEATH_SIGNAL, _CHILD_SUBREAPER = 1, 36  # of prctl


class _Ended(NamedTuple):
    """How the working process ended: exit code or minus its signal, last word, and the signal that asked it to end."""

    status: int
    word: int | None
    request: int | None


def supervised(work: Callable[[], None]) -> None:
    """Do the work under a supervisor and leave with its exit code; where the system has no means for it, without."""
    if not sys.platform.startswith("linux"):
        with clear_errors(), _stoppable():
            work()
        return
    _prctl(_CHILD_SUBREAPER, 1)  # what loses its parent becomes our child, and can be found
    for last_try in (False, True):
        code = _once(work, last_try)
        if code != ending.AGAIN:
            break
    raise SystemExit(code)


def _once(work: Callable[[], None], last_try: bool) -> int:
    asking = _signals()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*asking, _TERMINATED, signal.SIGCHLD})
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    supervisor, child = os.getpid(), os.fork()
    if child == 0:
        os.close(reading)
        _prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
        ending.supervised(writing, last_try)
        _work(work, before)
    os.close(writing)
    os.set_blocking(reading, False)
    try:
        ended = _wait(child, reading, asking)
    finally:
        os.close(reading)
        _end_all()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return _tell(ended)


def _work(work: Callable[[], None], mask: set[int | signal.Signals]) -> NoReturn:
    """The work, and its exit code as the last word: what the interpreter does at its end may hang, or be aborted."""
    try:
        with clear_errors(), _stoppable():
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            work()
    except SystemExit as leaving:
        ending.last_word(leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None))
        raise
    except BaseException:  # noqa: BLE001 - not left to the interpreter, which hands it to Ray first: that may hang
        print(visible(traceback.format_exc(), keep="\n"), end="", file=sys.stderr)  # it may quote data
        ending.last_word(1)
        raise SystemExit(1) from None
    ending.last_word(0)
    raise SystemExit(0)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM, SIGHUP and Ctrl-C end the block, once: with Stopped or KeyboardInterrupt."""
    over = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal over
        if not over:
            over = True
            errors.stopping = True
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise errors.Stopped(signal.SIGTERM if number == _TERMINATED else number)

    for number in {*_signals(), _TERMINATED}:
        signal.signal(number, stop)
    try:
        yield
    finally:
        over = True


def _signals() -> set[signal.Signals]:
    """What asks a command to end: but for what it was started to ignore, as by nohup."""
    asking = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    return {number for number in asking if signal.getsignal(number) is not signal.SIG_IGN}


def _wait(child: int, reading: int, asking: set[signal.Signals]) -> _Ended:
    word: int | None = None
    request: int | None = None
    request_at, deadline = 0.0, float("inf")
    while True:
        arrived = signal.sigtimedwait({*asking, signal.SIGCHLD}, _TICK_SECONDS)
        now = time.monotonic()
        if arrived is not None and arrived.si_signo in asking:
            if request is None:
                request, request_at, deadline = arrived.si_signo, now, min(deadline, now + GRACE_SECONDS)
                if arrived.si_code != _FROM_THE_TERMINAL:
                    os.kill(child, _TERMINATED if request == signal.SIGTERM else request)
            elif now - request_at > _PATIENT_SECONDS:
                deadline = now
        word = _heard(reading, word)
        if word is not None and deadline == float("inf"):
            deadline = now + GRACE_SECONDS
        while (one := os.waitpid(-1, os.WNOHANG))[0]:  # also of processes that became ours when they lost their parent
            if one[0] == child:
                return _Ended(os.waitstatus_to_exitcode(one[1]), _heard(reading, word), request)
        if now >= deadline:
            os.kill(child, signal.SIGKILL)


def _heard(reading: int, word: int | None) -> int | None:
    """The newest word, if one has been said."""
    with suppress(BlockingIOError):
        words = os.read(reading, _WORDS)
        return words[-1] if words else word
    return word


def _tell(ended: _Ended) -> int:
    """The command's exit code; with a line, where the working process has left none."""
    if ended.word == ending.LOST:
        text, code = "Ray was lost, and the work could not end by itself; run the same command again to go on", CURABLE
    elif ended.word is not None:
        return ended.word
    elif ended.request is not None:
        text, code = stopped_text(ended.request), SIGNALLED + ended.request
    elif ended.status == -signal.SIGKILL:
        text = "the process that did the work was killed (SIGKILL), by hand or by the system for want of memory; "
        text, code = f"{text}run the same command again to go on", SIGNALLED + signal.SIGKILL
    else:
        how = f"signal {signal.Signals(-ended.status).name}" if ended.status < 0 else f"code {ended.status}"
        text = f"the process that did the work was ended, with {how}, by a library that could not go on: by Ray, "
        text, code = f"{text}usually, when its other processes are gone. Run the same command again to go on", CURABLE
    print(f"adhmr: {text}", file=sys.stderr, flush=True)
    return code


def _end_all() -> None:
    """End the processes that the work has left, and those that they start meanwhile."""
    me, end = psutil.Process(), time.monotonic() + GRACE_SECONDS
    while (left := me.children(recursive=True)) and time.monotonic() < end:
        end_all(left, 1.0)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
