"""The progress protocol: how a stage reports what it is doing, without knowing who listens.

Stages receive a `Progress`; flows pass one that writes to the terminal and to Prefect artifacts, tests pass `SILENT`.
"""

from typing import Protocol


class Progress(Protocol):
    """Receives what a stage has to say. Every method returns at once and never raises."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """`stage` starts with `total` units of work, named by `unit` (plural: "images", "steps")."""

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` is a short live remark ("loss 0.31")."""

    def end(self, stage: str, note: str = "") -> None:
        """`stage` is over; `note` is its one-line result."""

    def say(self, text: str) -> None:
        """A line for the person that belongs to no bar (a reuse, a gate's verdict, a warning)."""


class SilentProgress:
    """A `Progress` that says nothing."""

    def begin(self, stage: str, total: int, unit: str) -> None: ...

    def advance(self, stage: str, count: int = 1, note: str = "") -> None: ...

    def end(self, stage: str, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...


class InRole:
    """A `Progress` that passes on what the stage `stage` says, under a title with the role that it has in its round."""

    def __init__(self, inner: Progress, stage: str, role: str) -> None:
        self._inner, self._stage, self._title = inner, stage, f"{stage} ({role})"

    @property
    def title(self) -> str:
        """What the stage is called by."""
        return self._title

    def begin(self, stage: str, total: int, unit: str) -> None:
        self._inner.begin(self._titled(stage), total, unit)

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        self._inner.advance(self._titled(stage), count, note)

    def end(self, stage: str, note: str = "") -> None:
        self._inner.end(self._titled(stage), note)

    def say(self, text: str) -> None:
        self._inner.say(self._titled(text))

    def _titled(self, text: str) -> str:
        """`text` with the stage's name at its beginning replaced by the title."""
        rest = text.removeprefix(self._stage)
        return self._title + rest if rest != text and rest[:1] in ("", ":") else text


SILENT = SilentProgress()
