"""A quiet start: messages of libraries that no user can do anything about, each with the reason why it may go.

Nothing is silenced as a whole. A setting is only a default (the environment wins), a message has to match its own
pattern on its own logger, and whatever is not listed here appears as its library wants it.
"""

import logging
import os
import re
from dataclasses import dataclass

from flows.process import errors
from flows.process.visible import visible
from schemas.errors import EngineError


@dataclass(frozen=True)
class Setting:
    """An environment variable with the value that it gets if it has none."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class Message:
    """A log message, by its logger and a regular expression for its text."""

    logger: str
    pattern: str
    reason: str


SETTINGS = (
    Setting(
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",
        "WARNING",
        "start and stop of the temporary server and of every task run: the progress display says the same; the "
        "Prefect server keeps all of it",
    ),
    Setting(
        "PREFECT_SERVER_ANALYTICS_ENABLED",
        "false",
        "the temporary server reports its use to its makers, and prints an error wherever there is no network",
    ),
    Setting("DO_NOT_TRACK", "1", "Prefect's client reports its use as well, and says so at its first start"),
    Setting("RAY_USAGE_STATS_ENABLED", "0", "Ray reports its use to its makers, and says so at every start"),
)

MESSAGES = (
    Message(
        "ray._private.authentication.authentication_token_setup",
        r"^Token authentication is enabled",
        "a local session makes and uses its token by itself; that it is on is the safe state",
    ),
    Message(
        "prefect.server.events.services.event_persister",
        r"^Max flush retries \(\d+\) reached, dropping \d+ events",
        "a temporary server that takes the place of a killed one hears of events twice, and Prefect 3.8 fails on a "
        "batch of nothing else; what runs did is in flow and task runs",
    ),
)

# Prefect writes what flows and tasks raise to these, with a traceback.
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def quiet_start() -> None:
    """Put SETTINGS and MESSAGES in force. Call it before Prefect or Ray is imported; twice does no harm."""
    for setting in SETTINGS:
        os.environ.setdefault(setting.name, setting.value)
    for message in MESSAGES:
        logger = logging.getLogger(message.logger)
        if not any(isinstance(one, _Drop) and one.message == message for one in logger.filters):
            logger.addFilter(_Drop(message))


def plain_run_errors() -> None:
    """Keep tracebacks of errors that the user can cure off Prefect's console; the Prefect server still gets them.

    The command line prints an EngineError as one clear line (see `flows.process.errors`); Prefect would put two
    tracebacks above it. Call it after Prefect has been imported, which is when its console handler exists.
    """
    for handler in logging.getLogger().handlers:
        if not any(isinstance(one, _CurableErrors) for one in handler.filters):
            handler.addFilter(_CurableErrors())
            handler.setFormatter(_Visible(handler.formatter))


class _Drop(logging.Filter):
    def __init__(self, message: Message) -> None:
        super().__init__()
        self.message = message

    def filter(self, record: logging.LogRecord) -> bool:
        return re.search(self.message.pattern, record.getMessage()) is None


class _Visible(logging.Formatter):
    """What another formatter writes, with visible control characters: messages and tracebacks may quote data."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return visible(self._inner.format(record), keep="\n")


class _CurableErrors(logging.Filter):
    """Drops what Prefect logs about runs that a curable error ended: the traceback, then the state that quotes it.

    Likewise of runs that a signal has stopped.
    """

    def __init__(self) -> None:
        super().__init__()
        self._quoted: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(RUN_LOGGERS):
            return True
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and errors.curable_text(error) is not None:
            self._quoted.add(str(error)[:60])
            return False
        text = record.getMessage()
        if text.startswith(("Crash detected!", "Finished in state Crashed")):
            return not (errors.stopping or re.search("aborted by an? (termination|interrupt) signal", text))
        if not text.startswith("Finished in state Failed"):
            return True
        # where a retry was refused, Prefect quotes the error's class and logs no traceback before
        kinds = [f" {name}: " for name in errors.names_of_kinds(EngineError)]
        return not any(quoted in text for quoted in (*self._quoted, *kinds))
