"""clean-sweep: what each share of scored pseudo-labels would keep, and what a policy trained on it is worth."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.bootstrap import bootstrap
from flows.order.sweep import Point, sweep_ratios
from flows.run import parameters
from flows.run.configuration import Choices
from flows.run.early import check_round
from flows.run.round import current_policy
from flows.run.session import session
from infra import rounds
from schemas.errors import ConfigError
from schemas.ids import ModelDigest
from tasks.clean.brought import check_brought

RATIOS = (0.3, 0.5, 0.7, 0.9, 1.0)
Ratios = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]


@flow(name="clean-sweep", flow_run_name=parameters.run_named("clean-sweep"), persist_result=False)
def clean_sweep(
    store: parameters.OptionalText = None,
    profile: parameters.OptionalProfile = None,
    campaign: parameters.OptionalText = None,
    seed: parameters.OptionalSeed = None,
    ratios: Ratios = list(RATIOS),  # noqa: B006 # a form shows it, and nothing changes it
    train: bool = False,
    at_random: bool = False,
    labels: parameters.OptionalText = None,
    changes: parameters.OptionalChanges = None,
    config: parameters.OptionalCampaignFile = None,
) -> list[Point]:
    """Filter the current policy's pseudo-labels by several shares; nothing is promoted.

    Args:
        store: URL of the store; ADHMR_STORE or ./adhmr-store if not given
        profile: what to start from (tiny, micro, paper); the campaign file's, or tiny, if not given
        campaign: name of the sequence of rounds; the campaign file's, or the profile's own, if not given
        seed: seed of all stages; the campaign file's, or 0, if not given
        ratios: shares that are kept, above 0 and at most 1
        train: train a policy on each, and measure it on sources.validation
        at_random: for each share, draw as many labels at random, too
        labels: Parquet table of labels with the columns of the table labels, or "ingested", those that people of
            sources.wild were ingested with; the current policy's if not given
        changes: configuration fields that differ from the profile, dotted name to value
        config: campaign file: path or URL of YAML, or what it would hold; all else that is given here counts more
    """
    with session("a sweep", store, Choices(profile, campaign, seed, changes, config)) as runner:
        if train and not runner.context.config.sources.validation:
            raise ConfigError(
                "A policy is measured on sources.validation, which is empty: name a data set, or don't train."
            )
        check_round(runner.context, None, labels)
        foundations = bootstrap(store, profile, campaign, seed, changes, config)
        if labels is not None:
            check_brought(runner.context, labels, foundations.people.wild)
        state = rounds.state(runner.context.store, runner.context.config.campaign)
        policy = current_policy(runner.context)
        reference = ModelDigest(state.first_policy or policy)
        number = state.round if state.is_open else state.next_round
        chosen = sorted(set(ratios))
        return sweep_ratios(
            runner, foundations, policy, reference, chosen, number, train=train, at_random=at_random, labels=labels
        )
