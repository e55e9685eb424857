"""Ray is lost: the main thread hears of it at once, and a thread beside it does not tell a story of its own."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from ray.exceptions import RaySystemError

from infra import ending, ray_watch
from infra.ray_watch import RayLostError, as_raised, watched
from schemas.errors import DataError, EngineError

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def raylet(monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[bytes]"]:
    monkeypatch.setattr(ending, "foretell", lambda: None)  # is for the process that watches this one
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def shut_down() -> None:
    """As a call into Ray says it, once `ray.shutdown` was called."""
    raise RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")


def failed() -> None:
    """As a stage says it."""
    try:
        shut_down()
    except RaySystemError as error:
        raise EngineError("Stage align: the training failed") from error


def bad() -> None:
    raise DataError("row 3 is no picture")


def in_thread(raising: Callable[[], None], when: threading.Event) -> None:
    with as_raised():
        when.wait(30)
        raising()


@pytest.mark.parametrize(("raising", "kind"), [(shut_down, RayLostError), (failed, RayLostError), (bad, DataError)])
def test_a_thread_beside_the_main_one_says_why_ray_is_lost(
    raylet: "subprocess.Popen[bytes]", raising: Callable[[], None], kind: type[EngineError]
) -> None:
    over = threading.Event()
    raylet.send_signal(signal.SIGKILL)
    watch = watched({"raylet": [SimpleNamespace(process=raylet)]}, NOWHERE, over.set)
    with ThreadPoolExecutor(1) as threads:
        beside = threads.submit(in_thread, raising, over)
        with pytest.raises(RayLostError, match=r"raylet has ended \(signal SIGKILL\)"), watch:
            threading.Event().wait(30)
        error = beside.exception(30)
    assert type(error) is kind
    assert kind is DataError or "Run the same command again to go on" in str(error)


@pytest.mark.parametrize(("raising", "kind"), [(shut_down, RaySystemError), (failed, EngineError)])
def test_errors_of_a_ray_that_lives_stay_as_they_are(
    raylet: "subprocess.Popen[bytes]",
    raising: Callable[[], None],
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also in the session after one that was lost."""
    monkeypatch.setattr(ray_watch, "_lost", ["Ray's raylet has ended"])
    watch = watched({"raylet": [SimpleNamespace(process=raylet)]}, NOWHERE, lambda: None)
    with pytest.raises(kind) as raised, watch, as_raised():
        raising()
    assert type(raised.value) is kind
