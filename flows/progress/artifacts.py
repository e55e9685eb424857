"""Progress in Prefect's user interface: every stage of a flow run has a progress artifact that grows with it.

Artifacts are written by a thread of their own, so that a slow or dead Prefect server costs a stage nothing.
"""

import atexit
import contextlib
import contextvars
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import UUID

from flows.process.errors import without_passwords
from flows.progress.pace import Pace
from schemas.progress import Progress

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

log = logging.getLogger(__name__)
T = TypeVar("T")

_clients: dict[tuple[str | None, str | None], "SyncPrefectClient"] = {}
"""A client for each server and log-in that was asked: to make one, with all authorities that may have signed for a
server, takes ten times as long as a question does, and a round has fifty."""
_asking = threading.Lock()
_until_exit = contextlib.ExitStack()
atexit.register(_until_exit.close)

REQUEST_SECONDS = 10.0
CLOSE_SECONDS = 5.0


class ArtifactWriter(Protocol):
    """Writes artifacts of one run. `percent` is 0 to 100, `text` a line of description. May raise anything."""

    def create(self, key: str, percent: float, text: str) -> UUID: ...

    def update(self, artifact: UUID, percent: float, text: str) -> None: ...


@dataclass(frozen=True)
class PrefectArtifacts:
    """An `ArtifactWriter` that asks the Prefect API, for a flow run or a task run of it."""

    flow_run: UUID | None
    task_run: UUID | None

    def create(self, key: str, percent: float, text: str) -> UUID:
        return create_artifact(key, "progress", percent, text, self.flow_run, self.task_run)

    def update(self, artifact: UUID, percent: float, text: str) -> None:
        from prefect.client.schemas.actions import ArtifactUpdate

        ask(lambda client: client.update_artifact(artifact, ArtifactUpdate(data=percent, description=text)))


def create_artifact(
    key: str, kind: str, data: object, text: str, flow_run: UUID | None, task_run: UUID | None = None
) -> UUID:
    """Have Prefect's server keep an artifact of a run, of Prefect's type `kind`, under a line of description."""
    from prefect.client.schemas.actions import ArtifactCreate

    artifact = ArtifactCreate(
        key=key, type=kind, data=data, description=text, flow_run_id=flow_run, task_run_id=task_run
    )
    return ask(lambda client: client.create_artifact(artifact).id)


def ask(request: Callable[["SyncPrefectClient"], T]) -> T:
    """What Prefect's server answers to a request, within some seconds."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

    server = PREFECT_API_URL.value(), PREFECT_API_AUTH_STRING.value()
    with _asking:
        if server not in _clients:
            client = get_client(sync_client=True, httpx_settings={"timeout": REQUEST_SECONDS})
            _clients[server] = _until_exit.enter_context(client)
    return request(_clients[server])


def log_in_current_run(text: str) -> None:
    """Put a line into the log of the Prefect run that calls this, which its server shows; outside of a run, nothing."""
    from prefect import get_run_logger  # here, as below: importing Prefect takes seconds
    from prefect.exceptions import MissingContextError

    with contextlib.suppress(MissingContextError):
        get_run_logger().info("%s", text)


def artifacts_of_current_run() -> ArtifactWriter | None:
    """A writer for the Prefect flow or task run that calls this; None outside of any."""
    task_run, flow_run = current_runs()
    return PrefectArtifacts(flow_run, task_run) if flow_run or task_run else None


def current_runs() -> tuple[UUID | None, UUID | None]:
    """The Prefect task run and flow run that call this."""
    from prefect.utilities.context import get_task_and_flow_run_ids  # here: importing Prefect takes seconds

    return get_task_and_flow_run_ids()


@dataclass
class _Stage:
    """A running stage, and the artifact that shows it once that is made."""

    key: str
    pace: Pace
    writer: ArtifactWriter
    context: contextvars.Context
    note: str = ""
    over: bool = False
    changed: bool = True
    artifact: UUID | None = None

    @property
    def percent(self) -> float:
        pace = self.pace
        return 100.0 if self.over else min(100.0, 100.0 * pace.done / pace.total) if pace.total else 0.0

    @property
    def text(self) -> str:
        pace = self.pace
        counted = f"{pace.done:,} of {pace.total:,} {pace.unit}" if pace.total else f"{pace.done:,} {pace.unit}"
        speed = "" if self.over else ", ".join(filter(None, (pace.rate, pace.left)))
        return "; ".join(filter(None, (counted, speed, self.note)))


class PrefectProgress:
    """A `Progress` that passes everything on to `inner` and mirrors it into artifacts of the current Prefect run.

    A stage's artifact (key `progress-<stage>`) changes at most once in `interval` seconds, at its begin and at its end
    apart; what is said, and how a stage ended, goes into the run's log too. Outside of a run only `inner` hears
    anything. What goes wrong with an artifact is logged, once.
    """

    def __init__(
        self,
        inner: Progress,
        interval: float = 5.0,
        find_writer: Callable[[], ArtifactWriter | None] = artifacts_of_current_run,
        tell: Callable[[str], None] = log_in_current_run,
    ) -> None:
        self._inner = inner
        self._interval = interval
        self._find_writer = find_writer
        self._tell = tell
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stages: dict[str, _Stage] = {}
        self._ended: list[_Stage] = []
        self._thread: threading.Thread | None = None
        self._complained = False

    def begin(self, stage: str, total: int, unit: str) -> None:
        self._inner.begin(stage, total, unit)
        writer = self._find_writer()
        if writer is None:
            return
        key = "progress-" + re.sub("[^a-z0-9]+", "-", stage.lower()).strip("-")
        with self._lock:
            self._stages[stage] = _Stage(key, Pace(total, unit), writer, contextvars.copy_context())
            if self._thread is None:
                self._thread = threading.Thread(target=self._mirror, name="prefect-progress", daemon=True)
                self._thread.start()
            self._wake.set()

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        self._inner.advance(stage, count, note)
        with self._lock:
            if state := self._stages.get(stage):
                state.pace.advance(count, time.monotonic())
                state.note = note or state.note
                state.changed = True

    def end(self, stage: str, note: str = "") -> None:
        self._inner.end(stage, note)
        with self._lock:
            state = self._stages.pop(stage, None)
            if state is not None:
                state.note, state.over, state.changed = note or state.note, True, True
                self._ended.append(state)
                self._wake.set()
        if state is not None:
            # a copy: the other thread may be writing in this context now, and only one at a time may be in it
            state.context.copy().run(self._tell, f"{stage}: done, {state.text}")

    def say(self, text: str) -> None:
        self._inner.say(text)
        self._tell(text)

    def close(self) -> None:
        """Give up stages that never ended and wait, for some seconds at most, until the rest is written."""
        with self._lock:
            self._stages.clear()
            thread = self._thread
            self._wake.set()
        if thread is not None:
            thread.join(CLOSE_SECONDS)

    def _mirror(self) -> None:
        while True:
            self._wake.wait(self._interval)
            with self._lock:
                self._wake.clear()
                pending = [state for state in (*self._ended, *self._stages.values()) if state.changed]
                self._ended.clear()
                for state in pending:
                    state.changed = False
            for state in pending:
                state.context.run(self._write, state)
            with self._lock:
                if not self._stages and not self._ended:
                    self._thread = None
                    return

    def _write(self, state: _Stage) -> None:
        try:
            if state.artifact is None:
                state.artifact = state.writer.create(state.key, state.percent, state.text)
            else:
                state.writer.update(state.artifact, state.percent, state.text)
        except Exception as error:
            log.debug("Writing the artifact %s failed", state.key, exc_info=True)
            if not self._complained:
                self._complained = True
                log.warning(
                    "Prefect did not take a progress artifact (%s: %s). The stage goes on; its progress is in this "
                    "terminal only. Further failures are not reported.",
                    type(error).__name__,
                    without_passwords(str(error)),
                )
