"""Errors that a user can cause or cure; the command line prints their text alone, without a traceback."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class EngineError(Exception):
    """Something that a user can act on. The message says what was wrong, where, and what to do."""


class ConfigError(EngineError):
    """A configuration value is unknown, of the wrong type or out of range."""


class StoreError(EngineError):
    """The store is missing, not writable, or holds something that is not ours."""


class DataError(EngineError):
    """Input data as a whole can't be used (single bad units land in the table `failures` instead)."""


class GateError(EngineError):
    """A gate stopped the round; the reason is recorded and the current policy stays.

    `stage_key` is the stage whose units failed, where that is the reason: it was committed, and its tables tell more.
    """

    def __init__(self, text: str, stage_key: str | None = None) -> None:
        super().__init__(text)
        self.stage_key = stage_key


class VanishedError(StoreError):
    """What an unfinished stage works from or has written is gone: another run, or something else, has removed it."""


class SpoiledError(VanishedError):
    """What an unfinished stage works from was damaged; it is removed, so that it is made again."""


class DamagedError(StoreError, DataError):
    """A file, of the store or of a user, does not hold what was written into it."""


def named(table: Mapping[str, T], name: str, what: str) -> T:
    """What a table of names holds under `name`. Raises ConfigError, which lists the names, where that is none of them.

    `what` says what the names are of: "objective".
    """
    if name not in table:
        raise ConfigError(f"There is no {what} {name!r}; there are {', '.join(table)}.")
    return table[name]
