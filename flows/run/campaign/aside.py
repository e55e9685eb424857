"""Whether enough people are set aside for a judge: looked at before a round opens, as scorers are trained first."""

from typing import Final

from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError, DataError
from schemas.ids import StageKey, Target
from tasks.engine.context import Context
from tasks.rows.instances import instance_ids
from tasks.rows.part import Part

_BY_CHANCE: Final = 2
"""Times its share of them that a part of some pictures may hold: who is in it depends on their names."""


def enough_are_set_aside(context: Context, target: Target, ingest: StageKey) -> None:
    """ConfigError where the part of an ingest that a judge decides by is too small."""
    config = context.config
    people = len(instance_ids(context.store, [ingest], [target]))
    try:
        aside = len(instance_ids(context.store, [ingest], [target], Part(0.0, config.gates.judged_share)))
    except DataError:  # nobody is
        aside = 0
    if aside < config.gates.min_judged:
        raise _too_few(config, target, people, f"{aside} are set aside")


def enough_may_be_set_aside(config: EngineConfig, target: Target, people: int) -> None:
    """The same of a source that is still to be ingested: whom it would set aside is known only roughly."""
    expected = people * config.gates.judged_share
    if expected * _BY_CHANCE < config.gates.min_judged:
        raise _too_few(config, target, people, f"some {expected:.0f} would be set aside")


def _too_few(config: EngineConfig, target: Target, people: int, aside: str) -> ConfigError:
    gates = config.gates
    return ConfigError(
        f"{target} has {people} people, of whom {aside} for the judge (gates.judged_share={gates.judged_share:g}), and "
        f"gates.min_judged asks for {gates.min_judged}: bring {gates.min_judged / gates.judged_share:.0f} people or "
        "more, or set a larger share or a smaller number."
    )
