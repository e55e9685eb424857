"""The order of a cleaning round: labels → score → filter → train further, beside controls → evaluate → compare."""

from functools import partial

from flows.order.labels import Guessed, as_many_at_random, calibrated, guess, guess_own, kept_of
from flows.order.legs import of_round
from flows.run.decision.gates import before_promotion, of_kept_labels, why_none_kept, without_labels
from flows.run.decision.judgement import set_aside
from flows.run.decision.measures import measure
from flows.run.decision.published import compare_as_published
from flows.run.decision.renewal import recalibrate
from flows.run.decision.watching import watch_labelled
from flows.run.round import Candidate, Foundations, Round
from flows.run.runner import Runner
from schemas.ids import StageKey
from tasks.gates import all_passed
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.mix import Mix
from tasks.stages.compare import Compare
from tasks.stages.evaluate import Evaluate
from tasks.stages.training import TrainClean


def clean_and_measure(
    runner: Runner,
    foundations: Foundations,
    opened: Round,
    own: AnnotationSource | None = None,
    labels: str | None = None,
) -> Candidate:
    """The stages of a cleaning round; `labels` are used instead of the policy's own pseudo-labels."""
    config, people = runner.context.config, foundations.people
    wild = people.wild
    if own is not None:
        # of one data set, whatever folder it is: the newest counts
        ingest = IngestAnnotations(own, replace_source=True)
        wild = Mix((runner.run(ingest, role="your pictures"),), (own.target,))
    wild, hearing = set_aside(runner, foundations.judge, wild, opened.policy)
    wild = of_round(wild, config.rounds.people_parts, opened.number)
    ready = hearing.is_worth_it(runner) if hearing else ()
    if not all_passed(ready):
        return Candidate(None, ready)

    measured, reported = people.held_out, people.reported
    held_out = partial(Evaluate, measured.ingests, measured.targets, scorer=foundations.scorer, config=config.evaluate)
    before = None
    if config.clean.filter == "calibrated" and measured.targets:  # it decides what is kept, so it comes first
        before = runner.run(held_out(policy=opened.policy), role="before")
    calibration = calibrated(runner, before, foundations.scorer)
    guessed = guess(runner, wild, opened.policy, foundations.scorer, calibration, labels)
    filtered = kept_of(config, guessed)
    kept = runner.run(filtered)
    ready += runner.judge(of_kept_labels, filtered, kept)
    if not all_passed(ready):
        return Candidate(None, ready)

    train = partial(TrainClean, people.labelled, policy=opened.policy, people=wild)
    beside, left_out = _controls(runner, foundations, opened, wild, guessed, kept, brought=labels is not None)
    trainings = {"": train(labels=(kept,)), **{role: train(labels=(key,)) for role, key in beside.items()}}
    trained, *controlled_by = runner.train(trainings)

    ready += hearing.decide(runner, trained, foundations.scorer) if hearing else ()
    if not measured.targets:
        return Candidate(trained, ready if hearing else ready + runner.judge(without_labels), left_out)
    if before is None:
        before = runner.run(held_out(policy=opened.policy), role="before")
    recalibrate(runner, before, foundations.scorer)
    after = runner.run(held_out(policy=trained), role="after")
    first = runner.run(held_out(policy=opened.first), role="first policy")
    controlled = partial(Evaluate, reported.ingests, reported.targets, scorer=None, config=config.evaluate)
    less_noise = controlled(policy=opened.policy, temperature=config.evaluate.less_noise)
    controls = {
        **{
            role.replace(" ", "_"): runner.run(controlled(policy=policy), role=role)
            for role, policy in zip(beside, controlled_by, strict=True)
        },
        "less_noise": runner.run(less_noise, role="less noise"),
    }
    compare_as_published(runner, people, opened.policy, trained, foundations.scorer)
    compared = runner.run(Compare(before, after, controls, first, people.drift.targets))
    measure(runner, before, after, controls)
    ready += runner.judge(before_promotion, compared)
    watched = watch_labelled(runner, before, after, measured, foundations.judge)
    return Candidate(trained, ready + watched, left_out)


def _controls(
    runner: Runner,
    foundations: Foundations,
    opened: Round,
    wild: Mix,
    guessed: Guessed,
    kept: StageKey,
    *,
    brought: bool,
) -> tuple[dict[str, StageKey], tuple[str, ...]]:
    """The labels of the configured controls, by role; and notices of those for which there are none."""
    clean, found = runner.context.config.clean, dict[str, StageKey]()
    if "all_labels" in clean.controls:
        found["all labels"] = guessed.labels
    if "random_labels" in clean.controls:
        found["random labels"] = runner.run(as_many_at_random(guessed, kept), role="random labels")
    if "own_labels" in clean.controls and (brought or clean.label != "zero_noise"):
        role = "own labels"
        own = guess_own(runner, wild, opened.policy, foundations.scorer, guessed)
        filtered = kept_of(runner.context.config, own)
        key = runner.run(filtered, role=role)
        why = runner.look_up(why_none_kept, filtered, key, otherwise="")
        if why:
            return found, (f"The control {role} is left out. {why}",)
        found[role] = key
    return found, ()
