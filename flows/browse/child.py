"""A process that works for the server and ends when nobody asks it: what draws, samples or answers a person's SQL.

The server keeps no torch and no large answer in its memory, and what hangs there hangs alone. A request is a line of
JSON; an answer is a line of JSON, which says how many bytes follow, and these.
"""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import EngineError

IDLE_SECONDS: Final = 90.0
_PATIENCE_SECONDS: Final = 60.0
_END_SECONDS: Final = 5.0
_PIECE: Final = 65536


class ChildError(EngineError):
    """What was asked for can't be had; the message is for the person who asked."""


@dataclass(frozen=True)
class Answer:
    """What a child gave: `data` as the media type `kind`, and what is said of it."""

    kind: str
    data: bytes
    about: Mapping[str, Any] = field(default_factory=dict)


Work = Callable[[Mapping[str, Any]], Answer]


class Child:
    """A process that answers one request at a time; it starts at the first, and again after it has ended."""

    def __init__(self, module: str, arguments: Sequence[str], patience: float = _PATIENCE_SECONDS) -> None:
        """`module` calls `serve` when it is run. After `patience` seconds without an answer the process is ended."""
        self._command = [sys.executable, "-m", module, *arguments]
        self._patience = patience
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process that is there now; None if none is."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """The answer. ChildError with the reason if there is none."""
        with self._lock:
            answer = self._ask(request)
            if answer is None and self._ended_idle():
                answer = self._ask(request)
        if answer is None:
            raise ChildError(
                "The process that works for this page ended without an answer: it took longer than "
                f"{self._patience:g} seconds, memory ran out, or it met a defect, which the terminal shows then."
            )
        return answer

    def begin(self) -> None:
        """Have the process started, if it isn't: it is likely to be asked soon."""
        if self._lock.acquire(blocking=False):  # else it is at work
            try:
                self._started()
            finally:
                self._lock.release()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ended_idle(self) -> bool:
        """Whether it ended of itself, having been idle, just when it was asked. What ended it at work would again."""
        return self._process is not None and self._process.returncode == 0

    def _started(self) -> "subprocess.Popen[bytes]":
        process = self._process
        if process is None or process.poll() is not None:
            # a session of its own: Ctrl-C is for the server, and when that goes, the end of its pipe tells
            process = self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        return process

    def _ask(self, request: Mapping[str, Any]) -> Answer | None:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(self._patience, process.kill)
        watch.start()
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            head = json.loads(process.stdout.readline())
            data = process.stdout.read(head["bytes"])
        except (OSError, ValueError):
            with suppress(subprocess.TimeoutExpired):  # one that is ending says why
                process.wait(_END_SECONDS)
            process.kill()
            process.wait()
            return None
        finally:
            watch.cancel()
        if len(data) != head["bytes"]:
            return None
        if "error" in head:
            raise ChildError(head["error"])
        return Answer(head["kind"], data, head["about"])


def serve(work: Work, idle: float = IDLE_SECONDS) -> None:
    """What a child does: answer until the server is gone, or has asked nothing for `idle` seconds."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    waiting = b""
    while True:
        while b"\n" not in waiting:
            ready, _, _ = select.select([sys.stdin.fileno()], [], [], idle)
            piece = os.read(sys.stdin.fileno(), _PIECE) if ready else b""
            if not piece:
                return
            waiting += piece
        line, _, waiting = waiting.partition(b"\n")
        try:
            answer = work(json.loads(line))
            head = {"kind": answer.kind, "bytes": len(answer.data), "about": answer.about}
            data = answer.data
        except EngineError as error:
            head, data = {"error": str(error), "bytes": 0}, b""
        answers.write(json.dumps(head).encode() + b"\n" + data)
        answers.flush()
