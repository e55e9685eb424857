"""What a command or a form says of the configuration: a campaign file, a profile, and changes in words."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from flows.run.campaign.file import CampaignFile, CampaignText, read_campaign_file
from flows.run.parameters import Changes
from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError
from schemas.layers import Configured, Setting, assemble

PREFIX: Final = "ADHMR_"
_OF_TOP: Final = tuple(
    f"{PREFIX}{name.upper()}"
    for name, field in EngineConfig.model_fields.items()
    if not hasattr(field.annotation, "model_fields")
)
"""Variables of fields that are in no section; those of others have two underscores after each section."""


@dataclass(frozen=True)
class Choices:
    """What is said of the configuration. None where something is left open.

    The options (profile, campaign, seed) count more than `changes` (--set), these more than the campaign file, this
    more than the environment, and that more than the profile. ADHMR_CONFIG names the file if nothing else does.
    """

    profile: str | None = None
    campaign: str | None = None
    seed: int | None = None
    changes: Changes | None = None
    config: CampaignFile | None = None

    def configured(self) -> Configured:
        """The configuration, and where each field was said. ConfigError for what is wrong."""
        named = self.config or os.environ.get(f"{PREFIX}CONFIG")
        file = read_campaign_file(named) if named else CampaignText((), "")
        options = asdict(self)
        configured = assemble(
            [
                *_of_environment(os.environ),
                *file.settings,
                *(Setting(name, _value(text, "--set"), "--set") for name, text in (self.changes or {}).items()),
                *(
                    Setting(name, options[name], f"--{name}")
                    for name in ("profile", "campaign", "seed")
                    if options[name] is not None
                ),
            ]
        )
        return configured._replace(config=_with_absolute_paths(configured.config), file=file.text)


def _with_absolute_paths(config: EngineConfig) -> EngineConfig:
    """The same, with paths of files for training that hold in other processes too; a body's name stays."""
    start = config.train_scorer.encoder_file
    if start is not None:
        absolute = {"encoder_file": str(Path(start).expanduser().absolute())}
        config = config.model_copy(update={"train_scorer": config.train_scorer.model_copy(update=absolute)})
    path = Path(config.body).expanduser()
    if not path.exists():
        return config
    from models.body_arrays import BUILT_IN  # slow to import, and few configurations come here

    return config if config.body in BUILT_IN else config.model_copy(update={"body": str(path.absolute())})


def _of_environment(environment: Mapping[str, str]) -> Iterator[Setting]:
    """What variables say of fields; ADHMR_SET counts less than one that has the name of its field."""
    for word in environment.get(f"{PREFIX}SET", "").split():
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise ConfigError(f"ADHMR_SET: {word}: give fields and values, such as align.beta=10.")
        yield Setting(name, _value(value, "ADHMR_SET"), "ADHMR_SET")
    for name in sorted(environment):
        if environment[name] and (name in _OF_TOP or (name.startswith(PREFIX) and "__" in name)):
            field = name.removeprefix(PREFIX).lower().replace("__", ".")
            yield Setting(field, _value(environment[name], name), name)


def _value(text: Any, origin: str) -> Any:
    """What a text means: what it is as JSON, and lists and mappings as YAML writes them in one line; else itself."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: {text} can't be read: {' '.join(str(error).split())}.") from error
