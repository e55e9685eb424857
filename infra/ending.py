"""How a process ends before its time: with a line for the user, an exit code, and a word to its supervisor.

Ray's own code ends the process that uses it, without a word of Python, when it has lost what it needs; a call into it
may also never return. So the command line works in a process that another one supervises (`flows.process.supervised`),
and which tells its supervisor, as its last word, that it has said everything.
"""

import os
import sys

CURABLE = 2
"""Exit code of a command that ended with one line about an error that the user can cure."""
AGAIN = 75
"""As a last word: the supervisor starts the work once more. (EX_TEMPFAIL of sysexits.)"""

LOST = 76
"""As a word before the last: what the work needs is gone, and it may hang where none of its threads can end it."""

_to_supervisor: int | None = None
_last_try = True


def supervised(to_supervisor: int, last_try: bool) -> None:
    """This process has a supervisor, which hears what is written there; it grants another try after a first one."""
    global _to_supervisor, _last_try
    _to_supervisor, _last_try = to_supervisor, last_try


def last_word(code: int) -> None:
    """Tell the supervisor, if there is one, that everything is said and which code the command ends with."""
    global _to_supervisor
    if _to_supervisor is not None:
        os.write(_to_supervisor, bytes([code]))
        _to_supervisor = None


def foretell() -> None:
    """Tell the supervisor, if there is one, that this process can't go on: without a last word it is ended by force."""
    if _to_supervisor is not None:
        os.write(_to_supervisor, bytes([LOST]))


def end_now(text: str, again: bool = False) -> None:
    """Say a line and end this process at once, whatever its other threads do, in a call that never returns perhaps.

    With `again` a supervisor starts the work once more, if it hasn't done so yet.
    """
    once_more = again and not _last_try
    print(f"adhmr: {text}{' Once more.' if once_more else ''}", file=sys.stderr, flush=True)
    code = AGAIN if once_more else CURABLE
    last_word(code)
    os._exit(code)
