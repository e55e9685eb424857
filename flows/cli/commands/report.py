"""The command report: the summary of a round that is over, and its page, if that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
from schemas.errors import DataError

if TYPE_CHECKING:
    from infra.store import Store
    from schemas.config.engine import EngineConfig
    from tasks.report.facts import RoundFacts


def report(
    number: Annotated[int | None, typer.Option("--round", min=1, show_default="the newest")] = None,
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.ReadCampaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
) -> None:
    """The summary of a round and where its page is."""
    quiet_start()
    opened = options.open_store(store)
    configured = options.choices(file, profile, campaign, seed, changes).configured()
    name = options.campaign_to_read(opened, configured)
    from flows.cli.show.summary import print_summary
    from infra import rounds
    from tasks.report.stage import read_configuration, read_facts

    state = rounds.state(opened, name)
    chosen = number or state.newest_reported
    if chosen == 0:
        raise DataError(f"Campaign {name} has no closed round yet: `adhmr run` makes one.")
    if (why := state.abandoned(chosen)) is not None:
        raise DataError(f"Round {chosen} of campaign {name} was abandoned and has no report: {why}")
    facts = read_facts(opened, name, chosen)
    config = read_configuration(opened, facts, configured.config)
    again = options.of_store(store) + options.of_configuration(file, profile, campaign, seed, changes)
    print_summary(opened, config, facts, again, state.next_round)
    _restore_page(opened, config, facts)


def _restore_page(store: Store, config: EngineConfig, facts: RoundFacts) -> None:
    """Write the page of a round again if it was removed, and this user may write."""
    from infra.store import may_not_write
    from tasks.engine.context import Context
    from tasks.report.stage import Report

    if store.exists(f"reports/{facts.report_name}"):
        return
    try:
        Report(facts).run(Context(store, config, round=facts.number))
    except OSError as error:
        if not may_not_write(error):
            raise
        typer.echo(f"note: the page of the report is not there, and can't be written again: {error}", err=True)
