"""Options of formats that are a choice: what was typed, as what it means."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.errors import DataError

_YES, _NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off", "")
KINDS: Final = ("gt", "pseudo")
"""Whether labels are known or guessed."""


def flag(options: Mapping[str, Any], name: str, of: str) -> bool:
    """A value that is true or false; false where it isn't given. DataError for another; `of` is the format."""
    text = str(options.get(name, False)).strip().lower()
    if text not in (*_YES, *_NO):
        raise DataError(f"The option {name} of {of} is true or false, not {options[name]!r}.")
    return text in _YES


def choice(options: Mapping[str, Any], name: str, choices: tuple[str, ...], of: str) -> str | None:
    """One of some words; None where it isn't given. DataError for another."""
    value: str | None = options.get(name)
    if value is not None and value not in choices:
        raise DataError(f"The option {name} of {of} is one of {', '.join(choices)}, not {value!r}.")
    return value
