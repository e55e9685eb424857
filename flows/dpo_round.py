"""dpo-round: generate → score → pair → align (DPO) → evaluate → promote or keep, on the campaign's current policy."""

from functools import partial

from prefect import flow

from flows.bootstrap import HELD_OUT, WILD_TEST, WILD_TRAIN, Ground, bootstrap
from flows.run import pipeline
from flows.run.early import check_round
from flows.run.gates import before_promotion, before_training
from flows.run.parameters import OptionalChanges, OptionalText, ProfileName, Seed
from flows.run.round import Opened, Proposal, work_through
from flows.run.round_artifacts import outcome
from flows.run.runner import Line
from flows.run.session import session
from flows.run.user_pictures import UserPictures, user_pictures
from schemas.config.stages import PairConfig
from tasks.gates import all_passed
from tasks.report.facts import RoundFacts

LABELS_NOTICE = (
    "The pairs come from your pictures, which have no labels. All errors on this page were measured on the "
    "engine's own held-out synthetic pictures (wild/test, source/test): they say nothing certain about yours."
)


def align_and_measure(line: Line, ground: Ground, opened: Opened, own: UserPictures | None = None) -> Proposal:
    """The stages of a round, on the synthetic in-the-wild pictures or on the user's own."""
    config = line.context.config
    people, target = ground.people, WILD_TRAIN
    if own is not None:
        people, target = line.do(pipeline.INGEST, (own.source,), role="your pictures"), own.target

    hypotheses = line.do(
        pipeline.GENERATE, (people,), (target,), opened.policy, config.generate, round_seed=opened.number
    )
    scores = line.do(pipeline.SCORE, hypotheses, (people,), ground.scorer)
    pairs = line.do(pipeline.PAIR, hypotheses, scores, config.pair, (people,))

    measure = partial(line.do, pipeline.EVALUATE, (ground.people,))
    before = measure(HELD_OUT, opened.policy, ground.scorer, config.evaluate, role="before")
    ready = line.judge(before_training, pairs, before, (hypotheses, scores))
    if not all_passed(ready):
        return Proposal(None, ready)

    at_random = line.do(pipeline.PAIR, hypotheses, scores, _at_random(config.pair), role="random pairs")
    aligned, control = line.models(
        pipeline.ALIGN,
        {
            "": (ground.people, pairs, opened.policy, opened.reference),
            "random pairs": (ground.people, at_random, opened.policy, opened.reference),
        },
        data_keys=(people,),
    )

    after = measure(HELD_OUT, aligned, ground.scorer, config.evaluate, role="after")
    first = measure(HELD_OUT, opened.reference, ground.scorer, config.evaluate, role="first policy")
    controls = {
        "random_pairs": measure((WILD_TEST,), control, None, config.evaluate, role="random pairs"),
        "less_noise": measure(
            (WILD_TEST,),
            opened.policy,
            None,
            config.evaluate,
            temperature=config.evaluate.less_noise,
            role="less noise",
        ),
    }
    compared = line.do(pipeline.COMPARE, before, after, controls, first=first)
    return Proposal(aligned, ready + line.judge(before_promotion, compared))


@flow(name="dpo-round", flow_run_name="dpo-round, {profile}", persist_result=False)
def dpo_round(
    store: OptionalText = None,
    profile: ProfileName = "tiny",
    campaign: OptionalText = None,
    seed: Seed = 0,
    images: OptionalText = None,
    boxes: OptionalText = None,
    changes: OptionalChanges = None,
) -> RoundFacts:
    """One round of preference alignment; what it stands on is made first where it is missing.

    An open round goes on where it was. Otherwise the next one begins.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: configuration to start from (tiny, micro, paper)
        campaign: name of the sequence of rounds; the profile's own if not given
        seed: seed of all stages
        images: folder of your own photographs to take pairs from, instead of the synthetic in-the-wild pictures
        boxes: table of people in them (CSV, Parquet or JSON; path, x, y, w, h); without it each picture is one person
        changes: configuration fields that differ from the profile, dotted name to value ("align.beta": "10")
    """
    own = user_pictures(images, boxes)
    with session("a DPO round", store, profile, campaign, seed, changes) as line:
        check_round(line.context, own)
        ground = bootstrap(store, profile, campaign, seed, changes)
        work = partial(align_and_measure, own=own)
        facts = work_through(line, ground, "dpo", work, [LABELS_NOTICE] if own else [])
    return outcome(facts)


def _at_random(config: PairConfig) -> PairConfig:
    return config.model_copy(update={"strategy": "random", "least_margin": 0.0, "label_wins_share": 0.0})
