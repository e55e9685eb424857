"""evaluate: any policy of the store on any labelled split, with the campaign's scorer."""

from prefect import flow

from flows.bootstrap import bootstrap
from flows.run.early import check_evaluation
from flows.run.parameters import OptionalChanges, OptionalText, ProfileName, Seed
from flows.run.round import Foundations, current_policy
from flows.run.session import session
from schemas.ids import Target
from schemas.splits import WILD_TEST
from tasks.evaluate import Evaluate
from tasks.rows.models import find_model


@flow(name="evaluate", flow_run_name="evaluate {dataset}/{split}, {profile}", persist_result=False)
def evaluate(
    store: OptionalText = None,
    profile: ProfileName = "tiny",
    campaign: OptionalText = None,
    seed: Seed = 0,
    policy: OptionalText = None,
    dataset: str = WILD_TEST.dataset,
    split: str = WILD_TEST.split,
    changes: OptionalChanges = None,
) -> str:
    """Measure a policy on a labelled split; gives the key of the evaluation, whose rows are in errors and scores.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: configuration to start from (tiny, micro, paper)
        campaign: name of the sequence of rounds; the profile's own if not given
        seed: seed of all stages
        policy: digest of the policy, or its beginning; the campaign's current policy if not given
        dataset: data set to measure on
        split: its split
        changes: configuration fields that differ from the profile, dotted name to value
    """
    with session("an evaluation", store, profile, campaign, seed, changes) as runner:
        check_evaluation(runner.context.store, policy, dataset, split)
        foundations: Foundations = bootstrap(store, profile, campaign, seed, changes)
        opened, config = runner.context.store, runner.context.config
        chosen = find_model(opened, policy, "policy") if policy else current_policy(runner.context)
        people, scorer = foundations.people, foundations.scorer
        return runner.run(Evaluate((people,), (Target(dataset, split),), chosen, scorer, config.evaluate))
