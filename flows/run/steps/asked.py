"""The stages that a single step asks for: what its words name is found, and what would end it is refused, before that.

Commands ask before they start a server, flows before they start Ray. A model that is a file is taken into the store.
"""

from collections.abc import Sequence
from typing import NamedTuple

from flows.run.models import model_named
from flows.run.steps.named import (
    HYPOTHESES,
    PAIRS,
    SCORES,
    check_crops,
    check_labelled,
    people_named,
    people_of,
    people_weighted,
    stage_named,
)
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey
from tasks.clean.brought import brought_labels, check_brought
from tasks.clean.given import GivenLabels
from tasks.clean.ingested import IngestedLabels
from tasks.engine.context import Context
from tasks.export.chosen import ingests_of
from tasks.rows.calibrations import find_expected_mpvpe
from tasks.rows.mix import Mix
from tasks.rows.models import network_of
from tasks.stages.clean import PseudoLabel
from tasks.stages.draw import Draw, PairDrawn
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import Align, TrainScorer
from tasks.train.checks import check_estimate, check_start


class ToKeep(NamedTuple):
    """What `keep` keeps the best of: labels that are still to be made, and the scorer that judges them."""

    labels: PseudoLabel | GivenLabels | IngestedLabels
    scorer: ModelDigest
    calibration: StageKey | None
    """What a score means, where the filter goes by it."""
    swapped: tuple[float, int] | None = None
    """Share and seed of the people whose brought labels are exchanged, to measure the filter."""


def scorer_training(context: Context, data: Sequence[str], policy: str) -> TrainScorer:
    """HMR-Scorer on the labelled people of some splits, weighted, and on what the policy draws for them."""
    store, config = context.store, context.config
    people = people_weighted(store, data)
    drawing = model_named(context, policy, "policy")
    check_start(config.train_scorer, config.scorer, network_of(store, drawing))
    check_crops(store, people, drawing)
    check_labelled(store, people)
    return TrainScorer(people, drawing)


def generation(
    context: Context, data: Sequence[str], policy: str, number: int | None = None, scorer: str | None = None
) -> Generate | Draw:
    """Hypotheses of a policy for people of some splits; with the number of a round, from the noise of that round. Where
    not all of them are kept, with their scores."""
    config, people = context.config, people_named(context.store, data)
    keep = config.hypotheses.keep
    if keep == "all" and scorer is not None:
        raise ConfigError("--scorer belongs to hypotheses.keep=extremes or none: all hypotheses are scored by `score`.")
    if keep != "all" and scorer is None:
        raise ConfigError(
            f"hypotheses.keep is {keep}: what is not kept has to be scored in the same pass, so give --scorer; or "
            "--set hypotheses.keep=all."
        )
    drawing = model_named(context, policy, "policy")
    check_crops(context.store, people, drawing)
    if keep == "all" or scorer is None:
        return Generate(people.ingests, people.targets, drawing, config.generate, number)
    judge = model_named(context, scorer, "scorer")
    check_crops(context.store, people, judge)
    return Draw(people.ingests, people.targets, drawing, judge, config.generate, config.pair, keep, number)


def scoring(context: Context, hypotheses: str, scorer: str) -> Score:
    """The scores of hypotheses, generated or ingested."""
    drawn = stage_named(context.store, hypotheses, HYPOTHESES)
    judge = model_named(context, scorer, "scorer")
    people = people_of(context.store, drawn)
    check_crops(context.store, people, judge)
    return Score(drawn.stage_key, people.ingests, judge)


def pairing(context: Context, scores: str) -> Pair:
    """Pairs among the hypotheses that were scored; scores that were ingested belong to the hypotheses beside them."""
    scored = stage_named(context.store, scores, SCORES)
    drawn = scored.reads[0] if scored.stage == Score.name else scored.stage_key
    people = tuple(map(StageKey, ingests_of(context.store, drawn)))
    kind = PairDrawn if scored.stage == Draw.name else Pair
    return kind(drawn, scored.stage_key, context.config.pair, people)


def keeping(context: Context, data: Sequence[str], scorer: str, policy: str | None, labels: str | None) -> ToKeep:
    """The labels that `labels` says, or pseudo-labels by the policy, for the people of some splits."""
    if (policy is None) == (labels is None):
        raise ConfigError(
            "Keep what? Give --labels FILE to filter those, --labels ingested for those that the people have, or "
            "--policy P to make pseudo-labels by it."
        )
    store, clean = context.store, context.config.clean
    people = people_named(store, data)
    judge = model_named(context, scorer, "scorer")
    check_crops(store, people, judge)
    calibration = _calibration(context, judge) if clean.filter == "calibrated" else None
    if labels is not None:
        check_brought(context, labels, people)
        swapped = (clean.swap_share, clean.seed) if clean.swap_share else None
        return ToKeep(brought_labels(labels, people), judge, calibration, swapped)
    assert policy is not None
    drawing = model_named(context, policy, "policy")
    check_crops(store, people, drawing)
    chooses = judge if clean.label == "best_of_m" else None
    made = PseudoLabel(people.ingests, people.targets, drawing, clean.swap_share, clean.seed, scorer=chooses)
    return ToKeep(made, judge, calibration)


def _calibration(context: Context, scorer: ModelDigest) -> StageKey:
    """The stage that said last which MPVPE this scorer's score means of a policy's samples."""
    found = find_expected_mpvpe(context.store, scorer)
    if found is None:
        raise ConfigError(
            f"clean.filter=calibrated asks what a score of {scorer[:12]} means in mm of MPVPE, by a policy's samples, "
            f"which nothing has said yet: `adhmr evaluate-scorer --scorer {scorer[:12]} --policy POLICY --data "
            "DATASET/SPLIT` does."
        )
    context.progress.say(
        f"clean.filter=calibrated goes by the calibration {found.stage_key[:12]}: {found.role} of {found.people} "
        f"people of {found.target}"
    )
    return found.stage_key


def alignment(
    context: Context, pairs: str, policy: str, reference: str | None = None, replay: Sequence[str] = ()
) -> Align:
    """The policy, moved along pairs; measured against itself unless another reference is named."""
    store, settings = context.store, context.config.align
    paired = stage_named(store, pairs, PAIRS)
    if settings.replays and not replay:
        raise ConfigError(
            "--replay is missing: name labelled people who keep the policy what it is, such as --replay h36m/train; or "
            "train on the pairs alone, with --set align.replay=0."
        )
    replayed = people_named(store, replay, "--replay") if replay else Mix((), ())
    moved = model_named(context, policy, "policy")
    held = model_named(context, reference, "policy") if reference is not None else moved
    if settings.encoder_distillation or settings.replays:
        check_estimate(settings.losses, network_of(store, moved).condition)
    people = people_of(store, paired)
    check_crops(store, people, moved)
    check_crops(store, replayed, moved)
    check_labelled(store, replayed, "--replay")
    return Align(replayed, paired.stage_key, moved, held, people)
