"""Types of the flows' parameters: what a form such as Prefect's shows of them, and its server refuses.

Descriptions are in the flows' docstrings, from where Prefect takes them. A choice is plain text in Python: the flows
check it themselves, and say in their own words what is wrong with it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from schemas.profiles import PROFILES

_Flow = TypeVar("_Flow", bound=Callable[..., Any])


def one_of(names: Iterable[str]) -> WithJsonSchema:
    """An annotation of text that is one of these names: a list to choose from."""
    return WithJsonSchema({"type": "string", "enum": list(names)})


def in_words(names: Iterable[str]) -> str:
    """Names as a choice: "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} or {last}"


def saying(**words: str) -> Callable[[_Flow], _Flow]:
    """A decorator that puts `words` into a docstring, in the place of their names in braces."""

    def decorate(function: _Flow) -> _Flow:
        function.__doc__ = (function.__doc__ or "").format(**words)
        return function

    return decorate


ProfileName: TypeAlias = Annotated[str, one_of(PROFILES)]
Seed: TypeAlias = Annotated[int, Field(ge=0)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
OptionalText: TypeAlias = Annotated[
    str | None, BeforeValidator(lambda text: None if text == "" else text), Field(json_schema_extra={"default": ""})
]
"""Text that may be left out. A form begins with an empty field, which means that; from None it would make no field."""
Changes: TypeAlias = Mapping[str, Any]
"""Dotted field -> value, as JSON has it, or as text that is read as JSON where it can be."""
OptionalChanges: TypeAlias = Annotated[Changes | None, Field(json_schema_extra={"default": {}})]
"""The same where there may be none."""
OptionalWords: TypeAlias = Annotated[dict[str, str] | None, Field(json_schema_extra={"default": {}})]
"""Name -> text, or none."""
