"""Profiles with changes, as tests name them."""

from collections.abc import Mapping
from typing import Any

from schemas.config.engine import EngineConfig
from schemas.layers import Setting, assemble, settings


def load_profile(
    name: str, seed: int = 0, campaign: str | None = None, changes: Mapping[str, Any] | None = None
) -> EngineConfig:
    """The profile `name` with `changes`, dotted fields to values."""
    said = [Setting("profile", name, ""), Setting("seed", seed, ""), *settings(changes or {}, "")]
    return assemble([*said, *([Setting("campaign", campaign, "")] if campaign else [])]).config
