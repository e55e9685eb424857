"""evaluate: any policy of the store on any labelled split, with the campaign's scorer."""

from prefect import flow

from flows.bootstrap import bootstrap
from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.early import check_evaluation
from flows.run.round import Foundations, current_policy
from flows.run.session import session
from infra.standing import newest_ingest
from schemas.ids import Target
from schemas.splits import WILD_TEST
from tasks.rows.models import find_model
from tasks.stages.evaluate import Evaluate


@flow(name="evaluate", flow_run_name=parameters.run_named("evaluate {dataset}/{split}"), persist_result=False)
def evaluate(
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    seed: parameters.OptionalSeed = None,
    policy: parameters.OptionalText = None,
    dataset: str = WILD_TEST.dataset,
    split: str = WILD_TEST.split,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> str:
    """Measure a policy on a labelled split; gives the key of the evaluation, whose rows are in errors and scores.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds; the campaign file's, or the profile's own, if not given
        seed: seed of all stages; the campaign file's, or 0, if not given
        policy: digest of the policy, or its beginning; the campaign's current policy if not given
        dataset: data set to measure on
        split: its split
        changes: configuration fields that differ from the profile, dotted name to value
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    with session("an evaluation", store, Choices(profile, campaign, seed, changes, config)) as runner:
        check_evaluation(runner.context.store, policy, dataset, split)
        foundations: Foundations = bootstrap(store, profile, campaign, seed, changes, config)
        opened, settings = runner.context.store, runner.context.config
        chosen = find_model(opened, policy, "policy") if policy else current_policy(runner.context)
        target = Target(dataset, split)
        people = foundations.people.ingests.get(target) or newest_ingest(opened, target)
        return runner.run(Evaluate((people,), (target,), chosen, foundations.scorer, settings.evaluate))
