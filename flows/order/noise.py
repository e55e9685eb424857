"""The starting noise by which a policy's samples are as diverse as the base policy's.

A policy that was aligned may have lost spread, or gained some; best of M and expected error then say as much of that as
of what it learned. The temperature of the starting noise is turned until the spread is what was asked for: at most two
further evaluations, of which the last counts, whatever it comes to. Zero noise has no temperature.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from flows.run.runner import Runner
from schemas.config.study import StudyConfig
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.rows.mix import Mix
from tasks.stages.evaluate import Evaluate

HOTTEST: Final = 4.0
_UNKNOWN: Final = 1.5
"""In a plan, of a policy that isn't there yet."""


class Spread(NamedTuple):
    """A temperature, and the diversity over the base's that it gave."""

    temperature: float
    share: float


def as_diverse(
    runner: Runner,
    study: StudyConfig,
    people: Mix,
    policy: ModelDigest,
    base: StageKey,
    trained: StageKey,
    role: str,
) -> StageKey:
    """The evaluation of a policy at the study's diversity. `base` and `trained` are evaluations by unchanged noise."""
    config = runner.context.config.evaluate
    keys, seen = [trained], [1.0]
    for _ in range(2):
        coming = runner.look_up(
            next_temperature, study, people.targets, base, keys, seen, otherwise=_UNKNOWN if len(seen) == 1 else None
        )
        if coming is None:
            break
        stage = Evaluate(people.ingests, people.targets, policy, None, config, temperature=coming)
        keys.append(runner.run(stage, role=f"{role}, noise x{coming:g}"))
        seen.append(coming)
    return keys[-1]


def next_temperature(
    context: Context,
    study: StudyConfig,
    targets: Sequence[Target],
    base: StageKey,
    keys: Sequence[StageKey],
    temperatures: Sequence[float],
) -> float | None:
    """The temperature to try next, after those that `keys` are the evaluations of; None where the last will do."""
    aim = mean_diversity(context, base, targets) * study.diversity
    if not aim:
        return None
    tried = [
        Spread(temperature, mean_diversity(context, key, targets) / aim)
        for temperature, key in zip(temperatures, keys, strict=True)
    ]
    return turned(tried, study.tolerance)


def turned(tried: Sequence[Spread], tolerance: float) -> float | None:
    """From what was tried, shares of the diversity that was asked for: the next temperature, by proportion first and
    along the line through the last two then; None where the last share is near enough to 1, or nothing spreads."""
    last = tried[-1]
    if abs(last.share - 1) <= tolerance or not last.share:
        return None
    coming = last.temperature / last.share
    if len(tried) > 1 and last.share != tried[-2].share:
        slope = (last.temperature - tried[-2].temperature) / (last.share - tried[-2].share)
        if slope > 0:
            coming = last.temperature + slope * (1 - last.share)
    coming = round(min(HOTTEST, max(1 / HOTTEST, coming)), 3)
    return None if coming == last.temperature else coming


def mean_diversity(context: Context, key: StageKey, targets: Sequence[Target]) -> float:
    """Of the people of these splits, in mm."""
    from tasks.compare import evaluation_table

    tables = evaluation_table(context.store, key)
    spreads = [float(value) for target in targets for value in tables[target].diversity]
    return sum(spreads) / len(spreads)
