"""The campaign file: fields of the configuration as YAML, by path or URL, or as the mapping that a form sends."""

import io
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from schemas.errors import ConfigError, DataError
from schemas.layers import Setting, settings
from tasks.ingest.source.files import read_url
from tasks.ingest.source.text_files import as_utf8

CampaignFile: TypeAlias = str | dict[str, Any]
"""A path or URL, or what the file would hold."""

_MOST_BYTES: Final = 1 << 20
_MOST_VALUES: Final = 100_000
_MERGED: Final = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Plain values alone, and no name twice in a mapping: YAML would take the last of them without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.check(node)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def check(self, node: yaml.MappingNode) -> None:
        """Raise MarkedYAMLError where a name is there twice, or can't be one."""
        keys = [key for key, _ in node.value if key.tag != _MERGED]
        names = [self.construct_object(key, deep=True) for key in keys]
        for place, name in enumerate(names):
            mark = keys[place].start_mark
            if not isinstance(name, str):
                raise yaml.MarkedYAMLError(problem=f"{name!r} is no name", problem_mark=mark)
            if name in names[:place]:
                raise yaml.MarkedYAMLError(problem=f"{name!r} is there twice", problem_mark=mark)


class CampaignText(NamedTuple):
    """What a campaign file holds."""

    settings: tuple[Setting, ...]
    text: str
    """The file, or the mapping as YAML."""


def read_campaign_file(file: CampaignFile) -> CampaignText:
    """The settings of a campaign file, each with its line. ConfigError where it can't be read or is no such file."""
    if isinstance(file, dict):
        text = yaml.safe_dump(file, sort_keys=False, allow_unicode=True)
        return CampaignText(tuple(settings(file, "config")), text)
    try:
        with as_utf8(io.BytesIO(read_url(file, "campaign file", _MOST_BYTES)), file) as stream:
            text = stream.read(_MOST_BYTES).decode()
    except (DataError, UnicodeDecodeError) as error:
        raise ConfigError(str(error) if isinstance(error, DataError) else f"{file} is no text: {error}.") from error
    try:
        return CampaignText(tuple(_read(text, file)), text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{file}{where}: {' '.join(filter(None, (error.context, error.problem)))}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise ConfigError(f"{file} is no campaign file: what it holds is nested too deep.") from error


def _read(text: str, file: str) -> Iterator[Setting]:
    """The settings of a text. ConfigError or YAMLError where it is no campaign file."""
    loader = _Loader(text)
    node = loader.get_single_node()
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{file} is no campaign file: it begins with sections such as `align:`.")
    if _values(node, _MOST_VALUES) <= 0:
        raise ConfigError(f"{file} holds more than {_MOST_VALUES} values, which is no campaign file.")
    yield from _settings(loader, node, _named(file))


def _named(file: str) -> str:
    """The last part of a path or URL, without what a URL may ask with (a token, say): the page of a round shows it."""
    return (file.partition("?")[0] if "://" in file else file).rsplit("/", 1)[-1]


def _settings(loader: _Loader, node: yaml.MappingNode, name: str, before: str = "") -> Iterator[Setting]:
    """The settings of a section."""
    loader.check(node)
    loader.flatten_mapping(node)  # resolves merged mappings (<<)
    for key, value in node.value:
        field = f"{before}{key.value}"
        if isinstance(value, yaml.MappingNode):
            yield from _settings(loader, value, name, f"{field}.")
        else:
            yield Setting(field, loader.construct_object(value, deep=True), f"{name} line {key.start_mark.line + 1}")


def _values(node: yaml.Node, most: int) -> int:
    """How much of `most` is left after the values of a node; an alias counts as what it stands for, as often."""
    if most <= 0 or not isinstance(node, yaml.CollectionNode):
        return most - 1
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            most = _values(part, most)
            if most <= 0:
                return 0
    return most - 1
