"""The formats that can be ingested, by name: one for each folder beside this module."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError, named
from tasks.ingest import formats as folders
from tasks.ingest.formats.format import Format
from tasks.ingest.people.annotations import AnnotationSource, Reader


@cache
def formats() -> Mapping[str, Format]:
    """All of them by name, the more particular first. Their readers are imported by the first who asks."""
    modules = pkgutil.iter_modules(folders.__path__, f"{folders.__name__}.")
    every: list[Format] = [importlib.import_module(module.name).FORMAT for module in modules if module.ispkg]
    return {one.name: one for one in sorted(every, key=lambda one: one.rank)}


def format_named(name: str) -> Format:
    """The format of that name. Raises ConfigError for another one."""
    return named(formats(), name, "format")


def checked_options(kind: Format, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options as readers take them. Raises ConfigError for those that the format doesn't have, and for values that
    there aren't."""
    unknown = [name for name in values if name not in kind.options]
    if unknown:
        options = f"the options {', '.join(kind.options)}" if kind.options else "no options"
        raise ConfigError(f"The format {kind.name} has no option {unknown[0]!r}; it has {options}.")
    if "as" in values and values["as"] not in kind.ways:
        raise ConfigError(f"What becomes of the format {kind.name} is {' or '.join(kind.ways)}, not {values['as']!r}.")
    return {name: _whole(name, value) if name in kind.whole else value for name, value in values.items()}


def reader_of(source: AnnotationSource, work: Path) -> Reader:
    """The reader of a source; `work` is a local folder of its own.

    Raises ConfigError for a format that is unknown, and for options that it doesn't have; DataError, as readers do, for
    a source that can't be used as a whole.
    """
    kind = format_named(source.format)
    return kind.reader(replace(source, options=checked_options(kind, source.options)), work)


def _whole(name: str, value: Any) -> int:
    digits = str(value).strip()
    number = int(digits) if digits.isdecimal() and len(digits) < 19 else 0
    if number < 1:
        raise ConfigError(f"The option {name} is a whole number from 1 on, not {value!r}.")
    return number
