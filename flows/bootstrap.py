"""bootstrap: synthesize → ingest → base policy → HMR-Scorer → evaluate; then the campaign has its first policy."""

from prefect import flow

from flows.order.foundations import lay_foundations
from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.round import Foundations
from flows.run.session import session
from infra import rounds


@flow(name="bootstrap", flow_run_name=parameters.run_named("bootstrap"), persist_result=False)
def bootstrap(
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    seed: parameters.OptionalSeed = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> Foundations:
    """Make what rounds are built on, as far as it isn't there yet, and give the campaign its first policy.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds; the campaign file's, or the profile's own, if not given
        seed: seed of all stages; the campaign file's, or 0, if not given
        changes: configuration fields that differ from the profile, dotted name to value ("align.beta": "10")
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    with session("bootstrap", store, Choices(profile, campaign, seed, changes, config)) as runner:
        foundations = lay_foundations(runner)
        context = runner.context
        if rounds.begin(context.store, context.config.campaign, foundations.base):
            context.progress.say(f"campaign {context.config.campaign} begins with policy {foundations.base[:12]}")
        return foundations
