"""Tracking of a training: its curves, as it goes, for tools that show curves.

It is for show. Nothing that is tracked decides anything, no key knows of it, and a tracker that is not installed, fails
or hangs costs the training a line in the log: each works in a thread of its own, and at the end it is waited for only
for some seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Protocol, Self

from infra.store import Store
from schemas.errors import named

PATIENCE_SECONDS: Final = 30.0
"""That a tracker gets to finish once the training is over."""

Point = tuple[int, Mapping[str, float]]
"""A step, and the figures of it by their names."""


@dataclass(frozen=True)
class Tracked:
    """A training that is tracked."""

    store: Store
    campaign: str
    round: int
    title: str
    """Of the stage, with its role: "align (random pairs)"."""
    stage_key: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What decides its key, by dotted names."""

    @property
    def name(self) -> str:
        """Of a folder: "align-random-pairs-0a1b2c3d", so that another one of its round has another."""
        words = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in self.title).split()
        return "-".join([*words, self.stage_key[:8]])


class Tracker(Protocol):
    """Where a training is shown. Whatever it raises ends the tracking, and not the training."""

    def points(self, points: Sequence[Point]) -> None:
        """What the training has come to, some of its points."""

    def end(self, history: Sequence[Point], model: str) -> None:
        """The training is over: all of its points, those that were told before too, and the digest of the model."""

    def abort(self) -> None:
        """The training broke off; another run may go on with it."""


TRACKERS: Final[Mapping[str, str]] = {
    "tensorboard": "infra.tracking.tensorboard:TensorBoard",
    "mlflow": "infra.tracking.mlflow:MLflow",
}
"""By their names in the configuration (`tracking`): module and class, which is made of what is tracked."""


class Tracking:
    """All trackers of a training, as a context that it takes place in."""

    def __init__(self, names: Sequence[str], tracked: Tracked, say: Callable[[str], None]) -> None:
        self._threads = [_TrackerThread(name, tracked) for name in names]
        self._say, self._title = say, tracked.title

    def point(self, step: int, figures: Mapping[str, float]) -> None:
        """The training has come to this."""
        for thread in self._threads:
            thread.tell(("points", (step, dict(figures))))

    def end(self, history: Sequence[Point], model: str) -> None:
        """The training is over; what a tracker could not do is said."""
        self._finish(("end", list(history), model))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(("abort",))

    def _finish(self, word: tuple[Any, ...]) -> None:
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.tell(word)
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
            problem = thread.problem or ("" if not thread.is_alive() else f"no end after {PATIENCE_SECONDS:g} s")
            if problem:
                self._say(f"{self._title}: tracking by {thread.name} failed, and nothing else did: {problem}")


class _TrackerThread(Thread):
    """A tracker at work; a daemon, so that one that hangs keeps no process from its end."""

    def __init__(self, name: str, tracked: Tracked) -> None:
        super().__init__(name=name, daemon=True)
        self.tracked, self.problem = tracked, ""
        self._words: Queue[tuple[Any, ...]] = Queue()

    def tell(self, word: tuple[Any, ...]) -> None:
        self._words.put(word)

    def run(self) -> None:
        try:
            module, _, kind = named(TRACKERS, self.name, "tracker").partition(":")
            self._follow(getattr(import_module(module), kind)(self.tracked))
        except ImportError as error:
            self.problem = f"{error.name or error} is not installed (pip install 'adhmr-engine[tracking]')"
        except Exception as error:  # noqa: BLE001 - whatever it raises is the tracker's own
            self.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"

    def _follow(self, tracker: Tracker) -> None:
        while True:
            words = [self._words.get()]
            with suppress(Empty):
                while True:
                    words.append(self._words.get_nowait())
            points = [word[1] for word in words if word[0] == "points"]
            if points:
                tracker.points(points)
            match words[-1]:
                case ("end", history, model):
                    return tracker.end(history, model)
                case ("abort",):
                    return tracker.abort()


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested settings by dotted names, as texts."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = str(value)
    return found
