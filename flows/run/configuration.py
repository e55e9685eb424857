"""Configuration as a command or a form gives it: a profile, and changes in words."""

import json
from typing import Any

from flows.run.parameters import Changes
from schemas.config.engine import EngineConfig
from schemas.profiles import load_profile


def configuration(
    profile: str = "tiny", campaign: str | None = None, seed: int = 0, changes: Changes | None = None
) -> EngineConfig:
    """The profile with `changes` (text is read as JSON where it is JSON). ConfigError for what is wrong."""
    return load_profile(profile, seed, campaign, {name: _value(text) for name, text in (changes or {}).items()})


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
