"""The order of a study: for each seed one base policy, scorer, hypotheses and pairs → for each cell align → evaluate on
validation → compare; and all seeds together at the end. The people of `sources.test` are never looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from flows.order.foundations import find_foundations
from flows.order.hypotheses import draw_and_score
from flows.order.legs import of_round
from flows.order.noise import as_diverse
from flows.run.round import Foundations
from flows.run.runner import Runner
from schemas.config.engine import EngineConfig
from schemas.config.study import CellConfig, StudyConfig, denoiser_passes
from schemas.config.training import AlignConfig
from schemas.digests import digest
from schemas.errors import named
from schemas.ids import ModelDigest, StageKey, Target
from schemas.studies import of_cell
from tasks.engine.context import Context
from tasks.rows.mix import Mix
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tasks.stages.pair import control_of
from tasks.stages.study import Study
from tasks.stages.training import Align

_FIRST_ROUND = 1
"""People and noise are those of a campaign's first round: what that did is found."""


class OfSeed(NamedTuple):
    """The comparisons of one seed: as trained, and at equal diversity if that was asked."""

    compared: StageKey
    at_equal: StageKey | None


def explore(runner: Runner, study: StudyConfig, configs: Mapping[int, EngineConfig]) -> StageKey:
    """The key of the study. `configs` are what it starts from, by seed."""
    first = next(iter(configs.values()))
    cells, sources = study.all_cells, first.sources
    found = []
    for seed, config in configs.items():
        runner.context.progress.say(f"seed {seed}: {len(cells)} cells")
        with under(runner, config):
            found.append(_one_seed(runner, study, _as_first_round(runner, find_foundations(runner))))
    compute = {
        cell.name: (settings := settings_of(study, cell, first)).optimiser.steps * passes_of_step(settings)
        for cell in cells
        if trains(cell)
    }
    with under(runner, first):
        return runner.run(
            Study(
                tuple(one.compared for one in found),
                tuple(one.at_equal for one in found if one.at_equal is not None),
                tuple(cell.name for cell in cells),
                tuple(cell.name for cell in cells if cell.control),
                compute,
                study.rule,
                sources.targets("validation")[0],
                tuple(sources.targets("drift")),
            )
        )


def _as_first_round(runner: Runner, ground: Foundations) -> Foundations:
    """The same, with those of the in-the-wild people whom a campaign's first round learns from."""
    parts = runner.context.config.rounds.people_parts
    return ground._replace(people=ground.people._replace(wild=of_round(ground.people.wild, parts, _FIRST_ROUND)))


def _one_seed(runner: Runner, study: StudyConfig, ground: Foundations) -> OfSeed:
    config, people, base = runner.context.config, ground.people, ground.base
    held_out = joined(people.validation, people.drift)
    measure = partial(Evaluate, held_out.ingests, held_out.targets, scorer=None, config=config.evaluate)
    before = runner.run(measure(policy=base, scorer=ground.scorer), role="before")
    policies = _policies(runner, study, ground)
    measured = {name: runner.run(measure(policy=policy), role=name) for name, policy in policies.items()}
    offset = [cell for cell in study.all_cells if not trains(cell)]
    measured |= {cell.name: _offset(runner, cell, ground, held_out) for cell in offset}
    shown = next(cell.name for cell in study.all_cells if not cell.control)
    compare = partial(Compare, drift=people.drift.targets)
    compared = runner.run(compare(before, measured[shown], measured), role="as trained")
    if study.equal != "diversity":
        return OfSeed(compared, None)
    brief = Evaluate(people.validation.ingests, people.validation.targets, base, None, config.evaluate)
    before = runner.run(brief, role="before, validation")
    diverse = {
        name: as_diverse(runner, study, people.validation, policy, before, measured[name], name)
        for name, policy in policies.items()
    }
    return OfSeed(compared, runner.run(compare(before, diverse[shown], diverse), role="equal diversity"))


def _policies(runner: Runner, study: StudyConfig, ground: Foundations) -> dict[str, ModelDigest]:
    """The policies of the cells that train one, by name; as many trainings at once as there is room for."""
    config, people = runner.context.config, ground.people
    pairs = _Pairs(runner, ground)
    align = _alignment_of(ground)
    stages = {
        cell.name: align(pairs=pairs.of(cell), people=people.wild, config=settings_of(study, cell, config))
        for cell in study.all_cells
        if trains(cell)
    }
    return dict(zip(stages, runner.train(stages), strict=True))


def _alignment_of(ground: Foundations) -> "partial[Align]":
    """An alignment as a campaign's first round begins it: where the first policy has raw weights it starts from those,
    and is measured against them, and the moving average begins with the first policy."""
    base, raw = ground.base, ground.raw
    begun = raw or base
    return partial(Align, ground.people.labelled, policy=begun, reference=begun, average=None if raw is None else base)


class _Pairs:
    """What the cells of a seed are trained on, each made once."""

    def __init__(self, runner: Runner, ground: Foundations) -> None:
        self._runner, self._ground = runner, ground
        self._config = runner.context.config
        self._made: dict[str, StageKey] = {}

    def of(self, cell: CellConfig) -> StageKey:
        """The stage that left the pairs of a cell."""
        if cell.learns_from == "scorer_labels":
            return self._labels(cell)
        if cell.learns_from == "teacher":
            return self._taught(cell)
        config = of_cell(cell, self._config)
        how = control_of(config.pair) if cell.learns_from == "random_pairs" else config.pair
        about = digest([config.generate, how])
        if about not in self._made:
            with under(self._runner, config):
                people, base, scorer = self._ground.people.wild, self._ground.base, self._ground.scorer
                scored = draw_and_score(self._runner, people, base, scorer, _FIRST_ROUND)
                self._made[about] = self._runner.run(scored.pair(how), role=cell.name)
        return self._made[about]

    def _labels(self, cell: CellConfig) -> StageKey:
        """The labels that the scorer was trained on, as pairs that are their own losers."""
        from tasks.diagnostics.targets import Targets

        people = self._ground.people.scorer
        return self._runner.run(Targets(people.ingests, people.targets[0], None), role="scorer's labels")

    def _taught(self, cell: CellConfig) -> StageKey:
        """What a policy that learned those labels draws for the people of the pairs."""
        from tasks.diagnostics.targets import Targets

        people, config = self._ground.people, of_cell(cell, self._config).align
        teacher = _alignment_of(self._ground)(pairs=self._labels(cell), people=people.scorer, config=config)
        (taught,) = self._runner.train({"teacher": teacher})
        wild = people.wild
        return self._runner.run(Targets(wild.ingests, wild.targets[0], None, taught, part=wild.part), role=cell.name)


def _offset(runner: Runner, cell: CellConfig, ground: Foundations, held_out: Mix) -> StageKey:
    """The evaluation of the constant offset whose zero-noise MPVPE on validation is least."""
    from tasks.diagnostics.offset import ALPHAS, EvaluateOffset

    config, people = runner.context.config, ground.people.validation
    pairs = _Pairs(runner, ground).of(cell)
    few = config.evaluate.generate.model_copy(update={"hypotheses": 2})
    brief = config.evaluate.model_copy(update={"generate": few})
    keys = {
        alpha: runner.run(
            EvaluateOffset(people.ingests, people.targets, ground.base, None, brief, pairs=pairs, alpha=alpha),
            role=f"offset {alpha:g}",
        )
        for alpha in ALPHAS
    }
    best = runner.look_up(_best_alpha, keys, people.targets, otherwise=ALPHAS[0])
    whole = EvaluateOffset(
        held_out.ingests, held_out.targets, ground.base, None, config.evaluate, pairs=pairs, alpha=best
    )
    return runner.run(whole, role=cell.name)


def _best_alpha(context: Context, keys: Mapping[float, StageKey], targets: Sequence[Target]) -> float:
    from tasks.compare import evaluation_table

    def error(alpha: float) -> float:
        tables = evaluation_table(context.store, keys[alpha])
        return float(np.concatenate([tables[target].figures()["zero_noise_mpvpe"] for target in targets]).mean())

    return min(keys, key=error)


def trains(cell: CellConfig) -> bool:
    """Whether a policy is trained for it."""
    return cell.learns_from != "constant_offset"


def settings_of(study: StudyConfig, cell: CellConfig, config: EngineConfig) -> AlignConfig:
    """How a cell is trained: at equal compute by as many steps as cost what the study's first cell costs."""
    settings = of_cell(cell, config).align
    if study.equal != "compute":
        return settings
    first = of_cell(next(cell for cell in study.all_cells if trains(cell)), config).align
    steps = round(first.optimiser.steps * passes_of_step(first) / passes_of_step(settings))
    return settings.model_copy(update={"optimiser": settings.optimiser.in_steps(max(1, steps))})


def passes_of_step(config: AlignConfig) -> int:
    """What a step of an alignment costs, in passes of the denoiser."""
    from models.preferences.table import PREFERENCES

    objective = named(PREFERENCES, config.objective, "objective")
    return denoiser_passes(config, of_groups=objective.of_groups, from_reference=objective.from_reference)


def joined(one: Mix, other: Mix) -> Mix:
    """The people of both, to be measured."""
    return Mix(
        tuple(dict.fromkeys((*one.ingests, *other.ingests))), tuple(dict.fromkeys((*one.targets, *other.targets)))
    )


@contextmanager
def under(runner: Runner, config: EngineConfig) -> Iterator[None]:
    """What is run meanwhile is run by this configuration."""
    before = runner.context
    runner.context = replace(before, config=config)
    try:
        yield
    finally:
        runner.context = before
