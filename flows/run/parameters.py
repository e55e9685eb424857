"""Types of the flows' parameters: what a form such as Prefect's shows of them, and its server refuses.

Descriptions are in the flows' docstrings, from where Prefect takes them. A choice is plain text in Python: the flows
check it themselves, and say in their own words what is wrong with it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from schemas.layers import USUAL_PROFILE
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


def run_named(text: str) -> Callable[[], str]:
    """What makes the name of a flow run: `text` with the run's parameters, and what its configuration begins with."""

    def name() -> str:
        from prefect.runtime import flow_run

        given = flow_run.parameters
        file = given.get("config")
        begins_with = given.get("campaign") or given.get("profile") or (file if isinstance(file, str) else None)
        return f"{text.format(**given)}, {str(begins_with or USUAL_PROFILE).rpartition('/')[2]}"

    return name


Count: TypeAlias = Annotated[int, Field(ge=1)]
_EMPTY_IS_NONE = BeforeValidator(lambda text: None if text == "" else text)
OptionalText: TypeAlias = Annotated[str | None, _EMPTY_IS_NONE, Field(json_schema_extra={"default": ""})]
"""Text that may be left out. A form begins with an empty field, which means that; from None it would make no field."""
OptionalProfile: TypeAlias = Annotated[
    str | None, _EMPTY_IS_NONE, one_of(["", *PROFILES]), Field(json_schema_extra={"default": ""})
]
OptionalSeed: TypeAlias = Annotated[
    Annotated[int, Field(ge=0)] | None,
    _EMPTY_IS_NONE,
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"const": ""}, {"type": "null"}]}),
    Field(json_schema_extra={"default": ""}),
]
OptionalRound: TypeAlias = Annotated[
    Count | None,
    _EMPTY_IS_NONE,
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": ""}, {"type": "null"}]}),
    Field(json_schema_extra={"default": ""}),
]
SomeText: TypeAlias = Annotated[list[str], Field(min_length=1)]
"""One text or more."""
OptionalTexts: TypeAlias = Annotated[list[str] | None, Field(json_schema_extra={"default": []})]
"""Texts, or none."""
OptionalCampaignFile: TypeAlias = Annotated[
    str | dict[str, Any] | None, _EMPTY_IS_NONE, Field(json_schema_extra={"default": ""})
]
"""The path or URL of a campaign file, or what it would hold."""
Changes: TypeAlias = Mapping[str, Any]
"""Dotted field -> value, as JSON has it, or as text that is read as JSON where it can be."""
OptionalChanges: TypeAlias = Annotated[Changes | None, Field(json_schema_extra={"default": {}})]
"""The same where there may be none."""
OptionalWords: TypeAlias = Annotated[dict[str, str] | None, Field(json_schema_extra={"default": {}})]
"""Name -> text, or none."""
