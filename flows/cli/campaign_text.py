"""A campaign file with every field in it: those that differ from the profile in force, the others as comments."""

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

import yaml

from schemas.config.engine import EngineConfig
from schemas.fields import Field, fields, sections
from schemas.layers import Setting, assemble

_HEAD: Final = """\
# A campaign of adhmr-engine, for `--config` of any command and the parameter `config` of any deployment:
#
#   adhmr run --config {name}
#
# A line of a value that begins with # shows what the profile has: remove the mark to say something else. An option of a
# command counts more than this file, this file more than the environment (ADHMR_ALIGN__BETA=10 is align.beta).
"""
_WIDTH: Final = 118


def campaign_text(config: EngineConfig, name: str) -> str:
    """The file as text, which reads as `config` again; `name` is what it will be called."""
    said = [Setting(field, getattr(config, field), "") for field in ("profile", "campaign", "seed")]
    usual = {field.name: field.value for field in fields(assemble(said).config)}
    by_section: dict[str, list[Field]] = {}
    for field in fields(config):
        by_section.setdefault(field.section, []).append(field)
    lines = [_HEAD.format(name=name), *_lines(by_section[""], usual)]
    for section, description in sections(config):
        depth = section.count(".")
        indent = "  " * depth
        lines += [""] if depth == 0 else []
        lines += [f"{indent}# {description}", f"{indent}{section.rpartition('.')[2]}:"]
        lines += _lines(by_section.get(section, ()), usual)
    return "\n".join(lines) + "\n"


def _lines(of_section: Iterable[Field], usual: dict[str, Any]) -> Iterator[str]:
    for field in of_section:
        indent = "  " * field.name.count(".")
        yield from textwrap.wrap(about(field), _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   ")
        stays = field.name in usual and usual[field.name] == field.value and field.section
        yield f"{indent}{'# ' if stays else ''}{field.name.rpartition('.')[2]}: {value_text(field.value)}"


def about(field: Field) -> str:
    """Description, unit and limits in a line."""
    unit = "" if field.unit in ("-", "1") else f" [{field.unit}]"
    return f"{field.description}{unit}{f'; {field.limits}' if field.limits else ''}"


def value_text(value: Any) -> str:
    """A value in a line, as YAML reads it."""
    if isinstance(value, str):
        return yaml.safe_dump(value, width=10_000).removesuffix("\n").removesuffix("\n...")
    return json.dumps(value)
