"""campaign: dpo-round or clean-round, from the newest promoted policy → once more, until there are enough of them or
the gates say no twice in a row → first policy against the current one.
"""

from functools import partial
from typing import Any

from prefect import flow

from flows.clean_round import clean_round
from flows.dpo_round import dpo_round
from flows.order.campaign import Course, rounds_in_turn
from flows.progress.artifacts import log_in_current_run
from flows.run import parameters
from flows.run.campaign.course import course_of, table
from flows.run.configuration import Choices
from flows.run.early import check_round
from flows.run.round_artifacts import facts_of
from flows.run.session import session


@flow(name="campaign", flow_run_name=parameters.run_named("campaign"), persist_result=False)
def campaign(
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    seed: parameters.OptionalSeed = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> Course:
    """Rounds of a campaign, one after the other, until rounds.count of them are done or the gates refuse too often.

    A round that is open goes on where it was, those that are done count, so a run that was killed is started again as
    it was. With rounds.clean_every some are cleaning rounds. One run holds the campaign for all of its rounds.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds; the campaign file's, or the profile's own, if not given
        seed: seed of all stages; the campaign file's, or 0, if not given
        changes: configuration fields that differ from the profile, dotted name to value ("rounds.count": "5")
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    said: dict[str, Any] = {
        "store": store,
        "profile": profile,
        "campaign": campaign,
        "seed": seed,
        "changes": changes,
        "config": config,
    }
    dpo, clean = partial(facts_of, dpo_round, **said), partial(facts_of, clean_round, **said)
    with session("a campaign", store, Choices(profile, campaign, seed, changes, config)) as runner:
        check_round(runner.context)
        course = rounds_in_turn(runner, {"dpo": dpo, "clean": clean})
        for line in table(course_of(runner.context.store, runner.context.config.campaign, course.compared)):
            log_in_current_run(line)
        return course
