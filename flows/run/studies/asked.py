"""What a study is asked to do: a preset or a file of YAML, the seeds, and the configuration that each begins with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from flows.run.campaign.file import CampaignFile
from flows.run.campaign.people import roles_of
from flows.run.configuration import Choices
from flows.run.parameters import Changes
from schemas.config.engine import EngineConfig
from schemas.config.study import CellConfig, StudyConfig
from schemas.errors import ConfigError
from schemas.studies import PRESETS, of_cell


class Asked(NamedTuple):
    """A study, what each seed begins with, and why cells of it were left out."""

    study: StudyConfig
    configs: dict[int, EngineConfig]
    notices: tuple[str, ...]


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


def asked_for(
    name: str,
    seeds: str | None = None,
    profile: str | None = None,
    changes: Changes | None = None,
    config: CampaignFile | None = None,
) -> Asked:
    """The study of this name, as far as the campaign has people for it: a preset's controls without are left out.
    ConfigError for what doesn't go, of a cell as well."""
    study = study_named(name, seeds)
    configs = configurations(study, profile, changes, config)
    first = configs[study.seeds[0]]
    lacking = {cell.name: why for cell in study.all_cells if (why := _lacking(cell, first))}
    if lacking and name not in PRESETS:
        raise ConfigError(f"{next(iter(lacking.values()))}: leave the cell out.")
    kept = tuple(cell for cell in study.cells if cell.name not in lacking)
    notices = tuple(f"{why}: it is left out." for why in lacking.values())
    return Asked(study.model_copy(update={"cells": kept}), configs, notices)


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
        if of_cell(cell, first).align.legs > 1:
            raise ConfigError(f"Cell {cell.name}: the cells of a study are trained in one leg: leave align.legs out.")
    return found


def cells_of(study: StudyConfig, configs: Mapping[int, EngineConfig]) -> list[EngineConfig]:
    """The configurations of the cells, with the first seed's."""
    return [of_cell(cell, configs[study.seeds[0]]) for cell in study.all_cells]


def _lacking(cell: CellConfig, config: EngineConfig) -> str:
    """Why a cell has nobody to learn from; empty where it has: one split for each role."""
    for role in {"scorer_labels": ("scorer",), "teacher": ("scorer", "wild")}.get(cell.learns_from, ()):
        targets = config.sources.targets(role) if role in roles_of(config) else ()
        if len(targets) != 1:
            return (
                f"Cell {cell.name} learns from {cell.learns_from}, for which sources.{role} has to be one data set "
                f"that the campaign needs; there {f'are {len(targets)}' if targets else 'is none'}"
            )
    return ""


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
