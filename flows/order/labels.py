"""The order in which a cleaning round comes to labels worth training on: made or brought → scored → filtered."""

from typing import NamedTuple

from flows.run.runner import Runner
from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey
from tasks.clean.brought import brought_labels
from tasks.clean.swapped import SwapLabels
from tasks.rows.mix import Mix
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.published_scorer import CalibrateScorer


class Guessed(NamedTuple):
    """Labels of people, and what the scorer says of them."""

    labels: StageKey
    scores: StageKey
    calibration: StageKey | None
    """What a score means, where the filter goes by it."""


def check_filter(config: EngineConfig) -> None:
    """ConfigError for a filter that rounds have nothing to calibrate by."""
    if config.clean.filter == "calibrated" and not config.sources.validation:
        raise ConfigError(
            "clean.filter=calibrated asks what a score means in mm, which held-out labels say: name a data set under "
            "sources.validation, or set clean.filter to quantile or mixture."
        )


def calibrated(runner: Runner, evaluation: StageKey | None, scorer: ModelDigest) -> StageKey | None:
    """What a score means, by an `evaluation` on the first split of validation; None where the filter doesn't ask."""
    config = runner.context.config
    if config.clean.filter != "calibrated" or evaluation is None:
        return None
    target = config.sources.targets("validation")[0]
    return runner.run(CalibrateScorer(evaluation, evaluation, scorer, target), role=str(target))


def guess(
    runner: Runner,
    people: Mix,
    policy: ModelDigest,
    scorer: ModelDigest,
    calibration: StageKey | None = None,
    brought: str | None = None,
) -> Guessed:
    """Pseudo-labels of the policy, or the labels `brought` in their place, with their scores."""
    clean = runner.context.config.clean
    if brought is None:
        chooses = scorer if clean.label == "best_of_m" else None
        labels = runner.run(pseudo_labels(people, policy, clean.swap_share, clean.seed, chooses))
    else:
        labels = runner.run(brought_labels(brought, people))
        if clean.swap_share:
            labels = runner.run(SwapLabels(labels, people.ingests, clean.swap_share, clean.seed))
    return Guessed(labels, runner.run(ScoreLabels(labels, people.ingests, scorer)), calibration)


def guess_own(runner: Runner, people: Mix, policy: ModelDigest, scorer: ModelDigest, beside: Guessed) -> Guessed:
    """The control: the policy's zero-noise labels, with their scores."""
    clean, role = runner.context.config.clean, "own labels"
    labels = runner.run(pseudo_labels(people, policy, clean.swap_share, clean.seed), role=role)
    scores = runner.run(ScoreLabels(labels, people.ingests, scorer), role=role)
    return Guessed(labels, scores, beside.calibration)


def pseudo_labels(
    people: Mix, policy: ModelDigest, swap_share: float, seed: int, scorer: ModelDigest | None = None
) -> PseudoLabel:
    """The stage that makes pseudo-labels of these people; a `scorer` chooses them among several."""
    return PseudoLabel(people.ingests, people.targets, policy, swap_share, seed, people.part, scorer)


def kept_of(config: EngineConfig, guessed: Guessed, share: float | None = None) -> Keep:
    """The stage that keeps what the configured filter finds good, or the best `share`."""
    if share is not None:
        return Keep(guessed.labels, guessed.scores, share)
    return Keep(guessed.labels, guessed.scores, None, config.clean.filter, guessed.calibration)


def as_many_at_random(guessed: Guessed, kept: StageKey) -> Keep:
    """The control: as many labels as were `kept`, drawn at random."""
    return Keep(guessed.labels, guessed.scores, filter="random", like=kept)
