"""The order of a cleaning round: pseudo-labels → score → keep the best share → train further → evaluate → compare."""

from functools import partial

from flows.run.decision.gates import before_promotion, without_labels
from flows.run.decision.judgement import set_aside
from flows.run.decision.measures import measure
from flows.run.decision.published import compare_as_published
from flows.run.decision.renewal import recalibrate
from flows.run.decision.watching import watch_labelled
from flows.run.round import Candidate, Foundations, Round
from flows.run.runner import Runner
from tasks.clean.brought import brought_labels
from tasks.gates import all_passed
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.mix import Mix
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
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
    ready = hearing.is_worth_it(runner) if hearing else ()
    if not all_passed(ready):
        return Candidate(None, ready)

    if labels is None:
        clean = config.clean
        label = PseudoLabel(wild.ingests, wild.targets, opened.policy, clean.swap_share, clean.seed, wild.part)
        guessed = runner.run(label)
    else:
        guessed = runner.run(brought_labels(labels, wild))
    scores = runner.run(ScoreLabels(guessed, wild.ingests, foundations.scorer))
    kept = runner.run(Keep(guessed, scores))

    train = partial(TrainClean, people.labelled, policy=opened.policy, people=wild)
    trained, unfiltered = runner.train({"": train(labels=(kept,)), "all labels": train(labels=(guessed,))})

    ready += hearing.decide(runner, trained, foundations.scorer) if hearing else ()
    measured, reported = people.held_out, people.reported
    if not measured.targets:
        return Candidate(trained, ready if hearing else runner.judge(without_labels))
    held_out = partial(Evaluate, measured.ingests, measured.targets, scorer=foundations.scorer, config=config.evaluate)
    before = runner.run(held_out(policy=opened.policy), role="before")
    recalibrate(runner, before, foundations.scorer)
    after = runner.run(held_out(policy=trained), role="after")
    first = runner.run(held_out(policy=opened.reference), role="first policy")
    controlled = partial(Evaluate, reported.ingests, reported.targets, scorer=None, config=config.evaluate)
    less_noise = controlled(policy=opened.policy, temperature=config.evaluate.less_noise)
    controls = {
        "all_labels": runner.run(controlled(policy=unfiltered), role="all labels"),
        "less_noise": runner.run(less_noise, role="less noise"),
    }
    compare_as_published(runner, people, opened.policy, trained, foundations.scorer)
    compared = runner.run(Compare(before, after, controls, first, people.drift.targets))
    measure(runner, before, after, controls)
    ready += runner.judge(before_promotion, compared)
    return Candidate(trained, ready + watch_labelled(runner, before, after, measured, foundations.judge))
