"""clean-round: labels → score → filter → further training on labelled and kept → evaluate."""

from functools import partial

from prefect import flow

from flows.bootstrap import bootstrap
from flows.order.clean import clean_and_measure
from flows.order.labels import check_filter
from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.decision.reviewed import Waiting
from flows.run.early import check_round
from flows.run.round import work_through
from flows.run.round_artifacts import outcome
from flows.run.session import session
from flows.run.user_pictures import user_pictures
from tasks.clean.brought import check_brought
from tasks.report.facts import RoundFacts


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
) -> RoundFacts | Waiting:
    """One cleaning round: pseudo-labelled in-the-wild people are scored, filtered and trained on.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
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
        check_filter(runner.context.config)
        check_round(runner.context, own, labels)
        foundations = bootstrap(store, profile, campaign, seed, changes, config)
        if labels is not None and own is None:
            check_brought(runner.context, labels, foundations.people.wild)
        work = partial(clean_and_measure, own=own, labels=labels)
        facts = work_through(runner, foundations, "clean", work, own.target if own else None)
    return outcome(facts)
