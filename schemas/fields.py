"""Every field of a configuration with its value, description, unit and limits, for listings and files with comments."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from schemas.config.base import former_name

_LIMITS: Final = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("minItems", "at least {} of them"),
    ("maxItems", "at most {} of them"),
    ("pattern", "matches {}"),
)


class Field(NamedTuple):
    """A field that holds a value, not further fields."""

    name: str
    """Dotted, such as "align.beta"."""
    value: Any
    """As JSON has it."""
    description: str
    unit: str
    limits: str
    """In words; empty where the type alone limits it."""

    @property
    def section(self) -> str:
        """What it is in, dotted; empty for a field at the top."""
        return self.name.rpartition(".")[0]


def fields(config: BaseModel, before: str = "") -> Iterator[Field]:
    """The fields of a configuration and of its sections, those at the top first, else in their order."""
    schema = _schema(type(config))
    sections, plain = [], config.model_dump(mode="json")
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            sections.append(fields(value, f"{before}{name}."))
            continue
        about = schema["properties"][name]
        yield Field(f"{before}{name}", plain[name], about["description"], about["unit"], _limits(about))
    for section in sections:
        yield from section


def former_names(config: BaseModel, before: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names that fields had, each with the one that it has."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from former_names(value, f"{before}{name}.")
        elif former := former_name(field):
            yield f"{before}{former}", f"{before}{name}"


@cache
def _schema(kind: type[BaseModel]) -> Mapping[str, Any]:
    """Pydantic works it out anew each time it is asked, which takes a second for all sections."""
    return kind.model_json_schema()


def sections(config: BaseModel, before: str = "") -> Iterator[tuple[str, str]]:
    """The dotted names of a configuration's sections and of those in them, with their descriptions."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield f"{before}{name}", field.description or ""
            yield from sections(value, f"{before}{name}.")


def _limits(about: Mapping[str, Any]) -> str:
    """What JSON's schema says of the values of a field, in words."""
    choices = [about, *about.get("anyOf", ())]
    words = [f"one of {', '.join(map(str, part['enum']))}" for part in choices if "enum" in part]
    words += [phrase.format(part[name]) for part in choices for name, phrase in _LIMITS if name in part]
    if any(part.get("type") == "null" for part in choices):
        words.append("or null")
    return ", ".join(words)
