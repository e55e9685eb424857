"""clean-round: pseudo-labels → score → keep the best share → further training on labelled and kept → evaluate."""

from functools import partial

from prefect import flow

from flows.bootstrap import bootstrap
from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.decision.gates import before_promotion, without_labels
from flows.run.decision.judgement import set_aside
from flows.run.decision.published import compare_as_published
from flows.run.early import check_round
from flows.run.round import Candidate, Foundations, Round, work_through
from flows.run.round_artifacts import outcome
from flows.run.runner import Runner
from flows.run.session import session
from flows.run.user_pictures import user_pictures
from tasks.clean.brought import brought_labels, check_brought
from tasks.clean.filtering import Keep, ScoreLabels
from tasks.clean.pseudo import PseudoLabel
from tasks.compare import Compare
from tasks.evaluate import Evaluate
from tasks.gates import all_passed
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.report.facts import RoundFacts
from tasks.rows.mix import Mix
from tasks.train.clean import TrainClean


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

    ready += hearing.decide(runner, trained) if hearing else ()
    measured, reported = people.held_out, people.reported
    if not measured.targets:
        return Candidate(trained, ready if hearing else runner.judge(without_labels))
    held_out = partial(Evaluate, measured.ingests, measured.targets, scorer=foundations.scorer, config=config.evaluate)
    before = runner.run(held_out(policy=opened.policy), role="before")
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
    return Candidate(trained, ready + runner.judge(before_promotion, compared))


@flow(name="clean-round", flow_run_name=parameters.run_named("clean-round"), persist_result=False)
def clean_round(
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    seed: parameters.OptionalSeed = None,
    images: parameters.OptionalText = None,
    boxes: parameters.OptionalText = None,
    labels: parameters.OptionalText = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> RoundFacts:
    """One cleaning round: pseudo-labelled in-the-wild people are scored, filtered and trained on.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: configuration to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds; the campaign file's, or the profile's own, if not given
        seed: seed of all stages; the campaign file's, or 0, if not given
        images: folder of your own photographs, instead of the synthetic in-the-wild pictures
        boxes: table of people in them (CSV, Parquet or JSON; path, x, y, w, h); without it each picture is one person
        labels: Parquet table of pseudo-labels with the columns of the table labels, or "ingested", those that people of
            sources.wild were ingested with; the current policy's if not given
        changes: configuration fields that differ from the profile, dotted name to value ("clean.keep_share": "0.7")
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    own = user_pictures(images, boxes)
    with session("a cleaning round", store, Choices(profile, campaign, seed, changes, config)) as runner:
        check_round(runner.context, own, labels)
        foundations = bootstrap(store, profile, campaign, seed, changes, config)
        if labels is not None and own is None:
            check_brought(runner.context, labels, foundations.people.wild)
        work = partial(clean_and_measure, own=own, labels=labels)
        facts = work_through(runner, foundations, "clean", work, own.target if own else None)
    return outcome(facts)
