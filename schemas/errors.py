"""Errors that a user can cause or cure; the command line prints their text alone, without a traceback."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class EngineError(Exception):
    """Something that a user can act on. The message says what was wrong, where, and what to do."""


class ConfigError(EngineError):
    """A configuration value is unknown, of the wrong type or out of range."""


class ProblemsError(ConfigError):
    """Several things are wrong, each of which would end what was asked for; a line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(" ".join(problem.split()) for problem in problems)
        lines = [f"- {problem}" for problem in self.problems]
        super().__init__("\n".join([f"{len(lines)} things are in the way; nothing was begun.", *lines]))


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


def check_all(checks: Iterable[Callable[[], object]]) -> None:
    """Make all checks, whatever the others say. Raises what one of them raised; of several, ProblemsError with all."""
    errors: list[EngineError] = []
    for check in checks:
        try:
            check()
        except ProblemsError as error:
            errors += map(ConfigError, error.problems)
        except EngineError as error:
            errors.append(error)
    distinct = {str(error): error for error in errors}
    if len(distinct) == 1:
        raise errors[0]
    if distinct:
        raise ProblemsError(list(distinct))
