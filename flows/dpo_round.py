"""dpo-round: generate → score → pair → align (DPO) → evaluate → promote or keep, on the campaign's current policy."""

from functools import partial

from prefect import flow

from flows.bootstrap import bootstrap
from flows.order.dpo import align_and_measure
from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.decision.reviewed import Waiting
from flows.run.early import check_round
from flows.run.round import work_through
from flows.run.round_artifacts import outcome
from flows.run.session import session
from flows.run.user_pictures import user_pictures
from tasks.report.facts import RoundFacts


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
) -> RoundFacts | Waiting:
    """One round of preference alignment; what it stands on is made first where it is missing.

    An open round goes on where it was. Otherwise the next one begins. With review.before_training it waits, open, for
    people to judge its pairs.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
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
