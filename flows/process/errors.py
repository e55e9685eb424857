"""How the command line ends when something went wrong: a clear line (for several things a line each), the right exit
code and no traceback.

    with clear_errors(): ...        or        @clear_errors()

Put it inside of typer, on the commands themselves or in a group's `invoke`: typer has its own handling of Ctrl-C.
"""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames

from pydantic import ValidationError

from flows.process.visible import visible
from infra import ending
from schemas.config.base import Config
from schemas.errors import EngineError, ProblemsError

CURABLE = ending.CURABLE
SIGNALLED = 128
"""A command that a signal ended leaves with this and the signal's number, as shells have it: 130 after Ctrl-C."""
TRACEBACK_VARIABLE = "ADHMR_TRACEBACK"
WHERE_IT_STANDS = (
    "Finished stages stay finished: `adhmr status` says how far the round is, and the same command goes on there."
)
stopping = False
"""Whether this process was asked to end, so that what breaks off from then on is no news."""
_WHO = re.compile(r"(?<=//)[^/\s]+@")


class LostServerError(EngineError):
    """The Prefect server that this program tells what it does is gone for good."""


class Stopped(BaseException):
    """A signal asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def clear_errors() -> Iterator[None]:
    """EngineError and a configuration's ValidationError end the program with one line and code 2, a signal with 128 and
    its number.

    Anything else is a defect of ours and keeps its traceback. With ADHMR_TRACEBACK=1 every error does.
    """
    try:
        yield
        return
    except KeyboardInterrupt:
        text, code = stopped_text(signal.SIGINT), SIGNALLED + signal.SIGINT
    except Stopped as stopped:
        text, code = stopped_text(stopped.number), SIGNALLED + stopped.number
    except Exception as error:
        curable = curable_text(error)
        if curable is None or os.environ.get(TRACEBACK_VARIABLE):
            raise
        if isinstance(error, LostServerError) or _comes_from(error, "httpx"):
            _end_at_once(curable)
        text, code = curable, CURABLE
        _drop_tracebacks(error)
    _say(text)
    raise SystemExit(code)  # not above, where the exit would keep the error


def stopped_text(number: int) -> str:
    """The line for a command that a signal ended."""
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    return f"stopped{by}; run the same command again to go on"


def without_passwords(text: str) -> str:
    """A text whose URLs have no name and password any more: http://name:password@host becomes http://host."""
    return _WHO.sub("", text)


def curable_text(error: BaseException) -> str | None:
    """The line for an error that the user can cure, or the lines of several; None for a defect of ours."""
    # Ray raises a worker's error as a mixture of its own class and the original one, which it keeps in `cause`.
    cause = getattr(error, "cause", None)
    original = cause if isinstance(cause, EngineError | ValidationError) else error
    if isinstance(original, ProblemsError):
        return str(original)
    if isinstance(original, EngineError):
        return " ".join(str(original).split()) or type(original).__name__
    if _comes_from(original, "httpx"):  # which Prefect's client speaks; it has tried again as often as it may
        return f"Prefect's server can't be reached any more ({original}). {WHERE_IT_STANDS}"
    if _comes_from(original, "botocore"):  # s3fs lets some of its errors through
        return (
            f"S3 can't be reached: {original}. Check AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "AWS_REGION, or AWS_PROFILE and the files in ~/.aws."
        )
    if isinstance(original, ValidationError) and original.title in names_of_kinds(Config):
        return "; ".join(_complaints(original))
    return None


def _comes_from(error: BaseException, library: str) -> bool:
    return type(error).__module__.partition(".")[0] == library


def _complaints(error: ValidationError) -> Iterator[str]:
    for complaint in error.errors(include_url=False, include_context=False):
        field = ".".join([error.title, *map(str, complaint["loc"])])
        if complaint["type"] == "extra_forbidden":
            yield f"{field}: there is no such field"
        elif complaint["type"] == "missing":
            yield f"{field}: is missing"
        else:
            text = complaint["msg"].removeprefix("Value error, ").replace("Input should", "should")
            value = repr(complaint["input"])
            yield f"{field}: {text}, not {value}" if len(value) <= 60 else f"{field}: {text}"


def names_of_kinds(base: type) -> set[str]:
    """The names of a class and of all that are made from it."""
    return {base.__name__}.union(*map(names_of_kinds, base.__subclasses__()))


def _drop_tracebacks(error: BaseException | None) -> None:
    """Let go of what led to an error: Prefect keeps the error, and with its traceback whatever the flow had at hand.

    DuckDB complains of every object of its own that is alive when the interpreter ends.
    """
    cleared: set[int] = set()
    while error is not None and id(error) not in cleared:  # one may have been raised from itself
        cleared.add(id(error))
        clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _end_at_once(text: str) -> None:
    """Without what Prefect does at the end of a program: try for minutes to tell a lost server what it has missed."""
    print(file=sys.stderr)  # Prefect may have left its last line without an end
    _say(text)
    sys.stderr.flush()
    os._exit(CURABLE)


def _say(text: str) -> None:
    sys.stdout.flush()
    print(f"adhmr: {visible(text, keep=chr(10))}", file=sys.stderr)
