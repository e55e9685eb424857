"""clean-round: pseudo-labels → score → keep the best share → further training on labelled and kept → evaluate."""

from functools import partial

from prefect import flow

from flows.bootstrap import HELD_OUT, WILD_TEST, WILD_TRAIN, Ground, bootstrap
from flows.dpo_round import LABELS_NOTICE
from flows.run import pipeline
from flows.run.early import check_round
from flows.run.gates import before_promotion
from flows.run.parameters import OptionalChanges, OptionalText, ProfileName, Seed
from flows.run.round import Opened, Proposal, work_through
from flows.run.round_artifacts import outcome
from flows.run.runner import Line
from flows.run.session import session
from flows.run.user_pictures import UserPictures, user_pictures
from tasks.clean.given import check_given_labels
from tasks.report.facts import RoundFacts


def clean_and_measure(
    line: Line, ground: Ground, opened: Opened, own: UserPictures | None = None, labels: str | None = None
) -> Proposal:
    """The stages of a cleaning round; `labels` names a table of pseudo-labels to use instead of the policy's own."""
    config = line.context.config
    people, target = ground.people, WILD_TRAIN
    if own is not None:
        people, target = line.do(pipeline.INGEST, (own.source,), role="your pictures"), own.target

    if labels is None:
        guessed = line.do(
            pipeline.PSEUDO_LABEL, (people,), (target,), opened.policy, config.clean.swap_share, config.clean.seed
        )
    else:
        guessed = line.do(pipeline.GIVEN_LABELS, (people,), labels)
    scores = line.do(pipeline.SCORE_LABELS, (people,), guessed, ground.scorer)
    kept = line.do(pipeline.KEEP, guessed, scores)

    trained, unfiltered = line.models(
        pipeline.TRAIN_CLEAN,
        {
            "": (ground.people, (kept,), opened.policy),
            "all labels": (ground.people, (guessed,), opened.policy),
        },
        data_key=people,
    )

    measure = partial(line.do, pipeline.EVALUATE, (ground.people,))
    before = measure(HELD_OUT, opened.policy, ground.scorer, config.evaluate, role="before")
    after = measure(HELD_OUT, trained, ground.scorer, config.evaluate, role="after")
    first = measure(HELD_OUT, opened.reference, ground.scorer, config.evaluate, role="first policy")
    controls = {
        "all_labels": measure((WILD_TEST,), unfiltered, None, config.evaluate, role="all labels"),
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
    return Proposal(trained, line.judge(before_promotion, compared))


@flow(name="clean-round", flow_run_name="clean-round, {profile}", persist_result=False)
def clean_round(
    store: OptionalText = None,
    profile: ProfileName = "tiny",
    campaign: OptionalText = None,
    seed: Seed = 0,
    images: OptionalText = None,
    boxes: OptionalText = None,
    labels: OptionalText = None,
    changes: OptionalChanges = None,
) -> RoundFacts:
    """One cleaning round: pseudo-labelled in-the-wild people are scored, filtered and trained on.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: configuration to start from (tiny, micro, paper)
        campaign: name of the sequence of rounds; the profile's own if not given
        seed: seed of all stages
        images: folder of your own photographs, instead of the synthetic in-the-wild pictures
        boxes: table of people in them (CSV, Parquet or JSON; path, x, y, w, h); without it each picture is one person
        labels: Parquet table of pseudo-labels with the columns of the table labels; the current policy's if not given
        changes: configuration fields that differ from the profile, dotted name to value ("clean.keep_share": "0.7")
    """
    own = user_pictures(images, boxes)
    with session("a cleaning round", store, profile, campaign, seed, changes) as line:
        check_round(line.context, own, labels)
        ground = bootstrap(store, profile, campaign, seed, changes)
        if labels is not None and own is None:
            check_given_labels(line.context, labels, everybody=True)
        work = partial(clean_and_measure, own=own, labels=labels)
        facts = work_through(line, ground, "clean", work, [LABELS_NOTICE] if own else [])
    return outcome(facts)
