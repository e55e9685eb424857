"""The order of a keep-ratio sweep: labels → score → for each ratio keep, and if asked train, evaluate, compare."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from flows.order.labels import as_many_at_random, guess, kept_of
from flows.order.legs import of_round
from flows.run.decision.judgement import set_aside
from flows.run.decision.renewal import scorer_of_round
from flows.run.round import Foundations
from flows.run.runner import Runner
from schemas.ids import ModelDigest, StageKey
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tasks.stages.training import TrainClean


class Point(NamedTuple):
    """A ratio of the sweep."""

    ratio: float
    at_random: bool
    """Whether as many labels were drawn at random: the control."""
    kept: StageKey
    compared: StageKey | None
    """How a policy that was trained on them compares on validation; None where none was."""


def sweep_ratios(
    runner: Runner,
    foundations: Foundations,
    policy: ModelDigest,
    reference: ModelDigest,
    ratios: Sequence[float],
    number: int,
    *,
    train: bool,
    at_random: bool,
    labels: str | None = None,
) -> list[Point]:
    """The points of the sweep, in the order of `ratios`; the ones drawn at random behind their own. Scorer and people
    are those that a cleaning round with this `number` would have."""
    people, points = foundations.people, list[Point]()
    scorer = scorer_of_round(runner, people.scorer, foundations.scorer, policy)
    wild, _ = set_aside(runner, foundations.judge, people.wild, policy)
    wild = of_round(wild, runner.context.config.rounds.people_parts, number)
    foundations = foundations._replace(scorer=scorer, people=people._replace(wild=wild))
    guessed = guess(runner, wild, policy, scorer, brought=labels)
    for ratio in ratios:
        kept = runner.run(kept_of(runner.context.config, guessed, ratio), role=f"{ratio:g}")
        filters: list[tuple[bool, StageKey]] = [(False, kept)]
        if at_random and ratio < 1:
            role = f"{ratio:g} at random"
            filters.append((True, runner.run(as_many_at_random(guessed, kept), role=role)))
        for by_chance, key in filters:
            compared = None
            if train:
                role = f"{ratio:g}{' at random' if by_chance else ''}"
                compared = _worth(runner, foundations, policy, reference, key, role)
            points.append(Point(ratio, by_chance, key, compared))
    return points


def _worth(
    runner: Runner, foundations: Foundations, policy: ModelDigest, reference: ModelDigest, kept: StageKey, role: str
) -> StageKey:
    """How a policy that is trained on these labels compares with the one before, on validation."""
    people = foundations.people
    validation, config = people.validation, runner.context.config.evaluate
    trained = runner.train(
        {role: TrainClean(people.labelled, labels=(kept,), policy=policy, people=people.wild)},
    )[0]
    on_validation = partial(Evaluate, validation.ingests, validation.targets, scorer=foundations.scorer, config=config)
    before = runner.run(on_validation(policy=policy), role="before")
    first = runner.run(on_validation(policy=reference), role="first policy")
    after = runner.run(on_validation(policy=trained), role=role)
    return runner.run(Compare(before, after, {}, first, ()), role=role)
