"""dpo-round: generate → score → pair → align (DPO) → evaluate → promote or keep, on the campaign's current policy."""

from functools import partial

from prefect import flow

from flows.bootstrap import bootstrap
from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.decision.gates import before_promotion, before_training, without_labels
from flows.run.decision.judgement import set_aside
from flows.run.decision.published import compare_as_published
from flows.run.early import check_round
from flows.run.round import Candidate, Foundations, Round, work_through
from flows.run.round_artifacts import outcome
from flows.run.runner import Runner
from flows.run.session import session
from flows.run.user_pictures import user_pictures
from schemas.config.stages import PairConfig
from tasks.compare import Compare
from tasks.evaluate import Evaluate
from tasks.gates import all_passed
from tasks.generate import Generate
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.pair import Pair
from tasks.report.facts import RoundFacts
from tasks.rows.mix import Mix
from tasks.score import Score
from tasks.train.align import Align


def align_and_measure(
    runner: Runner, foundations: Foundations, opened: Round, own: AnnotationSource | None = None
) -> Candidate:
    """The stages of a round, on the campaign's in-the-wild people or on a folder of the user's own pictures."""
    config, people = runner.context.config, foundations.people
    wild = people.wild
    if own is not None:
        # of one data set, whatever folder it is: the newest counts
        ingest = IngestAnnotations(own, replace_source=True)
        wild = Mix((runner.run(ingest, role="your pictures"),), (own.target,))

    wild, hearing = set_aside(runner, foundations.judge, wild, opened.policy)

    generate = Generate(wild.ingests, wild.targets, opened.policy, config.generate, opened.number, wild.part)
    hypotheses = runner.run(generate)
    scores = runner.run(Score(hypotheses, wild.ingests, foundations.scorer))
    pairs = runner.run(Pair(hypotheses, scores, config.pair, wild.ingests))

    measured, reported = people.held_out, people.reported
    held_out = partial(Evaluate, measured.ingests, measured.targets, scorer=foundations.scorer, config=config.evaluate)
    before = runner.run(held_out(policy=opened.policy), role="before") if measured.targets else None
    ready = runner.judge(before_training, pairs, before, (hypotheses, scores))
    ready += hearing.is_worth_it(runner) if hearing else ()
    if not all_passed(ready):
        return Candidate(None, ready)

    at_random = runner.run(Pair(hypotheses, scores, _at_random(config.pair)), role="random pairs")
    align = partial(Align, people.labelled, policy=opened.policy, reference=opened.reference, people=wild)
    aligned, control = runner.train({"": align(pairs=pairs), "random pairs": align(pairs=at_random)})

    ready += hearing.decide(runner, aligned) if hearing else ()
    if before is None:
        return Candidate(aligned, ready if hearing else ready + runner.judge(without_labels))
    after = runner.run(held_out(policy=aligned), role="after")
    first = runner.run(held_out(policy=opened.reference), role="first policy")
    controlled = partial(Evaluate, reported.ingests, reported.targets, scorer=None, config=config.evaluate)
    less_noise = controlled(policy=opened.policy, temperature=config.evaluate.less_noise)
    controls = {
        "random_pairs": runner.run(controlled(policy=control), role="random pairs"),
        "less_noise": runner.run(less_noise, role="less noise"),
    }
    compare_as_published(runner, people, opened.policy, aligned, foundations.scorer)
    compared = runner.run(Compare(before, after, controls, first, people.drift.targets))
    return Candidate(aligned, ready + runner.judge(before_promotion, compared))


@flow(name="dpo-round", flow_run_name=parameters.run_named("dpo-round"), persist_result=False)
def dpo_round(
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    seed: parameters.OptionalSeed = None,
    images: parameters.OptionalText = None,
    boxes: parameters.OptionalText = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> RoundFacts:
    """One round of preference alignment; what it stands on is made first where it is missing.

    An open round goes on where it was. Otherwise the next one begins.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: configuration to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds; the campaign file's, or the profile's own, if not given
        seed: seed of all stages; the campaign file's, or 0, if not given
        images: folder of your own photographs to take pairs from, instead of the synthetic in-the-wild pictures
        boxes: table of people in them (CSV, Parquet or JSON; path, x, y, w, h); without it each picture is one person
        changes: configuration fields that differ from the profile, dotted name to value ("align.beta": "10")
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    own = user_pictures(images, boxes)
    with session("a DPO round", store, Choices(profile, campaign, seed, changes, config)) as runner:
        check_round(runner.context, own)
        foundations = bootstrap(store, profile, campaign, seed, changes, config)
        work = partial(align_and_measure, own=own)
        facts = work_through(runner, foundations, "dpo", work, own.target if own else None)
    return outcome(facts)


def _at_random(config: PairConfig) -> PairConfig:
    return config.model_copy(update={"strategy": "random", "least_margin": 0.0, "label_wins_share": 0.0})
