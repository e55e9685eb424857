"""The command report: the summary of a round that is over, and its page, if that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
from flows.process.visible import visible
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
    open_page: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    as_json: options.Json = False,
) -> None:
    """The summary of a round and where its page is."""
    quiet_start()
    opened = options.open_store(store)
    configured = options.choices(file, profile, campaign, seed, changes).configured()
    name = options.campaign_to_read(opened, configured)
    from flows.cli.documents import print_document, report_document
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
    # of a campaign that is shown because the store has no other, nothing typed leads to a next round
    is_named = name == configured.config.campaign
    if as_json:
        print_document("report", report_document(opened, config, facts))
    else:
        print_summary(opened, config, facts, again if is_named else None, state.next_round)
    _restore_page(opened, config, facts)
    if open_page:
        _show(opened, facts)


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


def _show(store: Store, facts: RoundFacts) -> None:
    """Open the page in a browser; of a store on S3, a copy of it on this machine."""
    import webbrowser
    from pathlib import Path
    from tempfile import mkdtemp

    path = f"reports/{facts.report_name}"
    page = Path(store.path(path))
    if not store.is_local:
        page = Path(mkdtemp(prefix="adhmr-report-")) / facts.report_name
        page.write_bytes(store.read_bytes(path))
    if not store.is_local or page.exists():
        if webbrowser.open(page.absolute().as_uri()):
            return
        typer.echo(visible(f"note: no browser could be opened; the page is {page}"), err=True)
