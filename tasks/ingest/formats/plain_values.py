"""Single values of published files: numbers and texts without what numpy wrapped them in, and as messages show them."""

import reprlib
from typing import Any, Final

import numpy as np

from tasks.ingest.formats.json_rows import UNREADABLE
from tasks.ingest.source.folder import RefusedError, printable

_SHOWN: Final = 80


def plain(value: Any) -> Any:
    """A value without the array or scalar that numpy wraps it in; an array of several as it is."""
    return value.item() if isinstance(value, np.generic | np.ndarray) and np.size(value) == 1 else value


def whole_number(value: Any, name: str) -> int:
    """A whole number from 0 on, also one that numpy wrapped. Raises RefusedError for everything else."""
    number = plain(value)
    is_number = isinstance(number, int | float) and not isinstance(number, bool) and number == number
    if not is_number or not 0 <= number < 2**62 or int(number) != number:
        raise RefusedError(UNREADABLE, f"{name} is {shown(number)}, a whole number from 0 is expected")
    return int(number)


def text(value: Any, name: str) -> str:
    """A path, also one that numpy wrapped. Raises RefusedError for everything else."""
    path = plain(value)
    if not isinstance(path, str) or not path.strip():
        raise RefusedError(UNREADABLE, f"{name} is {shown(path)}, a text is expected")
    return printable(path)


def shown(value: Any) -> str:
    """A value for a message: short, and printable."""
    words = printable(value[: 2 * _SHOWN] if isinstance(value, str) else reprlib.repr(value))
    return words if len(words) <= _SHOWN else words[:_SHOWN] + "..."
