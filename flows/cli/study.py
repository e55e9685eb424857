"""The plan of a study: it goes through what a study does, seed by seed, with a dry runner."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flows.cost.estimate import NOTHING, Cost, Range, estimate
from flows.order.study import explore
from flows.run.campaign.people import made_here
from flows.run.dry import DryRunner
from infra.rounds import campaigns
from schemas.config.engine import EngineConfig
from schemas.config.study import StudyConfig
from tasks.engine.context import Context
from tasks.stages.study import Study

_QUICK: Final = {Study.name}
"""Stages whose time nobody asks for."""


@dataclass(frozen=True)
class StudyPlan:
    """What a study would do. `seconds` leaves out the stages that `unknown` names."""

    study: StudyConfig
    trainings: int
    evaluations: int
    reused: int
    to_run: int
    seconds: Range
    unknown: tuple[str, ...]
    notes: tuple[str, ...] = ()


def plan_study(
    context: Context, study: StudyConfig, configs: Mapping[int, EngineConfig], notices: Sequence[str] = ()
) -> StudyPlan:
    """What `adhmr study` would do now. Each seed is looked at by itself, as titles of stages are the same in all.
    `notices` are among its notes."""
    costs: list[Cost] = []
    reused = to_run = 0
    for seed, config in configs.items():
        runner = DryRunner(Context(context.store, config))
        explore(runner, study, {seed: config})
        looks = tuple(runner.looks.values())
        reused += sum(look.verdict == "reuse" for look in looks)
        to_run += sum(look.verdict != "reuse" for look in looks)
        costs += estimate(runner.context, looks, runner.stages, ()).stages
    trained = [cost for cost in costs if cost.title.startswith("align")]
    seconds = NOTHING
    for cost in costs:
        seconds += cost.seconds or NOTHING
    ray = next(iter(configs.values())).ray
    beside = max(1.0, (os.cpu_count() or 1) / (ray.cpus_per_trainer * ray.trainers))
    saved = sum(cost.seconds.least for cost in trained if cost.seconds) * (1 - 1 / beside)
    return StudyPlan(
        study,
        len(trained),
        sum(cost.title.startswith("evaluate") for cost in costs),
        reused,
        to_run,
        Range(seconds.least - saved, seconds.most),
        tuple(sorted({cost.title.partition(" (")[0] for cost in costs if cost.seconds is None} - _QUICK)),
        (*notices, *_notes(context, configs)),
    )


def _notes(context: Context, configs: Mapping[int, EngineConfig]) -> Iterator[str]:
    """What it does to a store that people work in."""
    if len(configs) > 1 and made_here(context.config) and campaigns(context.store):
        yield (
            "this store has campaigns, and each seed of a study makes people of its own: single steps then take the "
            "newest under names such as wild/train. A study may have a store of its own (--store)."
        )
