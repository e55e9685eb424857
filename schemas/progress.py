"""The progress protocol: how a stage tells a person what it is doing, without knowing who listens.

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


SILENT = SilentProgress()
