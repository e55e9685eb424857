"""What a study is asked to do: a preset or a file of YAML, the seeds, and the configuration that each begins with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flows.run.campaign.file import CampaignFile
from flows.run.configuration import Choices
from flows.run.parameters import Changes
from schemas.config.engine import EngineConfig
from schemas.config.study import StudyConfig
from schemas.errors import ConfigError
from schemas.studies import PRESETS, of_cell


def study_named(name: str, seeds: str | None = None) -> StudyConfig:
    """The preset of this name, or the study of a file. ConfigError for neither, and for what a file has wrong."""
    path = Path(name).expanduser()
    if name in PRESETS:
        study = PRESETS[name]()
    elif path.is_file():
        study = _validated(_read(path), str(path))
    else:
        raise ConfigError(
            f"There is no study {name!r}: there are {', '.join(PRESETS)}, or name a file of your own (YAML)."
        )
    return study if seeds is None else _validated({**study.model_dump(), "seeds": _numbers(seeds)}, "--seeds")


def choices(
    study: StudyConfig,
    seed: int,
    profile: str | None = None,
    changes: Changes | None = None,
    config: CampaignFile | None = None,
) -> Choices:
    """What a seed of the study begins with, in words; of a campaign of its own, so that no open round is in its way."""
    return Choices(profile, f"study-{study.name}"[:41], seed, {**study.changes, **(changes or {})}, config)


def configurations(
    study: StudyConfig, profile: str | None = None, changes: Changes | None = None, config: CampaignFile | None = None
) -> dict[int, EngineConfig]:
    """What the study begins with, by seed. ConfigError for what doesn't go, of a cell as well."""
    found = {seed: choices(study, seed, profile, changes, config).configured().config for seed in study.seeds}
    first = found[study.seeds[0]]
    if not first.sources.validation:
        raise ConfigError("A study is measured on sources.validation, which is empty: name a labelled data set there.")
    if first.align.legs > 1:
        raise ConfigError("The cells of a study are trained in one leg: set align.legs=1.")
    for cell in study.all_cells:
        of_cell(cell, first)
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} can't be read as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path} holds no study: name, seeds and cells (docs/studies.md).")
    return {"name": path.stem.lower(), **found}


def _validated(plain: Mapping[str, Any], origin: str) -> StudyConfig:
    try:
        return StudyConfig.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{origin}: {where + ': ' if where else ''}{message}.") from error


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--seeds {text}: whole numbers separated by commas, such as 0,1,2.") from None
