"""The fields of a round's configuration that are not as its profile has them, and who said so."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.config.engine import EngineConfig
from schemas.fields import fields
from schemas.profiles import PROFILES

_SPREAD = ("seed", "campaign")
"""Fields that a profile takes: its own values of them are the usual ones, and what it spreads them to goes along."""


@dataclass(frozen=True)
class SettingRow:
    """A field that differs from the profile."""

    name: str
    """Dotted, such as "align.beta"."""
    value: str
    usual: str
    """The profile's; empty where the profile has no such field."""
    unit: str
    description: str
    origin: str = ""
    """Where it was said: "campaign.yaml line 3", "--set"; empty where that is not known."""


def changed_settings(config: EngineConfig, origins: Mapping[str, str]) -> list[SettingRow]:
    """The fields that differ from the profile, in the order of `adhmr config`; `origins` by field, where known."""
    profile = PROFILES[config.profile]
    usual = {field.name: field.value for field in fields(profile(seed=config.seed, campaign=config.campaign))}
    usual |= {field.name: field.value for field in fields(profile()) if field.name in _SPREAD}
    return [
        SettingRow(
            field.name,
            _text(field.value),
            _text(usual[field.name]) if field.name in usual else "",
            field.unit if field.unit not in ("-", "1") else "",
            field.description,
            origins.get(field.name, ""),
        )
        for field in fields(config)
        if field.name not in usual or usual[field.name] != field.value
    ]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
