"""The commands that look after a store: status, rounds, rollback, close, repair and vacuum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
from flows.process.visible import visible
from schemas.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from infra.store import Store

OneOrAll = Annotated[str | None, typer.Option("--campaign", help="Only this campaign.", show_default="all")]


def status(
    store: options.StoreUrl = None,
    file: options.CampaignsFile = None,
    campaign: OneOrAll = None,
    as_json: options.Json = False,
) -> None:
    """What runs now: campaigns and who works on them, open rounds, unfinished stages, Prefect's flow runs."""
    quiet_start()
    opened = options.open_store(store)
    from flows.cli.documents import print_document, status_document
    from flows.cli.show.campaigns import print_status
    from flows.cli.status import status as look

    found = look(opened, options.campaign_of(file, campaign))
    if as_json:
        print_document("status", status_document(found))
        return
    print_status(found)


def rounds(
    store: options.StoreUrl = None,
    file: options.CampaignsFile = None,
    campaign: OneOrAll = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Only so many rounds of each campaign.")] = 10,
    as_json: options.Json = False,
) -> None:
    """What happened to the campaigns: rounds opened, promoted, kept, closed; what each trained, and its figures."""
    opened = options.open_store(store)
    from flows.cli.documents import print_document, rounds_document
    from flows.cli.lineage import lineage
    from flows.cli.show.campaigns import print_history, print_lineage
    from infra.rounds import campaigns, history

    name = options.campaign_of(file, campaign)
    if name is not None:
        options.check_campaign(name, campaigns(opened))
    events, steps = history_of_newest(history(opened, name), last), lineage(opened, name, last)
    if as_json:
        print_document("rounds", rounds_document(*events, steps))
        return
    print_history(*events)
    print_lineage(steps)


def history_of_newest(events: pa.Table, rounds: int) -> tuple[pa.Table, int]:
    """The events of the newest rounds of each campaign, and the number of earlier rounds in all."""
    import pyarrow as pa

    places = events.select(["campaign", "round"]).to_pylist()
    newest: dict[str, int] = {}
    for row in places:
        newest[row["campaign"]] = max(newest.get(row["campaign"], 0), row["round"])
    shown = [row["round"] > newest[row["campaign"]] - rounds for row in places]
    return events.filter(pa.array(shown, pa.bool_())), sum(max(0, number - rounds) for number in newest.values())


def rollback(
    to: Annotated[str, typer.Option("--to", metavar="DIGEST", help="The policy, or the beginning of its digest.")],
    store: options.StoreUrl = None,
    file: options.CampaignsFile = None,
    campaign: options.OnlyCampaign = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the history.")] = "",
) -> None:
    """Make an earlier policy of the campaign current again: one more line in its history, nothing is removed."""
    opened = options.writable_store(store)
    from infra.rounds import roll_back, state

    name = _only_campaign(opened, options.campaign_of(file, campaign))
    before = state(opened, name)
    policy = _begins_with(to, before.policies, name)
    if not roll_back(opened, name, policy, why or "by hand"):
        typer.echo(visible(f"Policy {policy[:12]} is current in campaign {name} already: nothing was written."))
        return
    instead = f" instead of {before.policy[:12]}" if before.policy else ""
    typer.echo(visible(f"Policy {policy[:12]} is current in campaign {name} now{instead}."))
    if before.is_open:
        typer.echo(f"Round {before.round} is open: it began with another policy; if it promotes, that one is current.")


def repair(
    store: options.StoreUrl = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, only say what would be done.")] = False,
    as_json: options.Json = False,
) -> None:
    """Mend what a loss of power or a lost file has left, as far as nothing has to be guessed; whole things stay as they
    are. What can't be mended is listed with its cure, and the exit code is 1 then."""
    opened = options.open_store(store)
    from flows.cli.documents import print_document, repair_document
    from flows.cli.show.findings import print_repairs
    from infra.repair import repair as mend
    from tasks.rows.models import put_damaged_aside

    findings = [*mend(opened, dry_run=dry_run), *put_damaged_aside(opened, dry_run=dry_run)]
    if as_json:
        print_document("repair", repair_document(findings, dry_run))
    else:
        print_repairs(findings, dry_run)
    if any(finding.outcome == "left" for finding in findings):
        raise typer.Exit(1)


def close(
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the history.")],
    store: options.StoreUrl = None,
    file: options.CampaignsFile = None,
    campaign: options.OnlyCampaign = None,
) -> None:
    """End the open round as abandoned: what it made stays, its policy does not become current, another may begin."""
    opened = options.writable_store(store)
    from flows.run.lease import refuse_if_busy
    from infra.rounds import abandon, state

    if not why.strip():
        raise ConfigError("--why: say in some words why the round is abandoned; the history shows them.")
    name = _only_campaign(opened, options.campaign_of(file, campaign))
    refuse_if_busy(opened, name)
    number = abandon(opened, name, why.strip())
    after = state(opened, name)
    decision = after.decision(number)
    decided = f"; it stays {decision.event}" if decision else ""
    current = f"policy {after.policy[:12]} is current" if after.policy else "there is no policy yet"
    typer.echo(
        f"Round {number} of campaign {name} is closed as abandoned{decided}; {current}. Any kind of round may begin."
    )


def vacuum(
    store: options.StoreUrl = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without it they are only listed.")] = False,
    grace_days: Annotated[float, typer.Option("--grace-days", min=0, help="Leave younger files alone.")] = 7.0,
    as_json: options.Json = False,
) -> None:
    """Files that no table refers to and no run is working on."""
    opened = options.open_store(store)
    from datetime import timedelta

    from flows.cli.documents import print_document, vacuum_document
    from flows.cli.show.findings import print_vacuum
    from infra.vacuum import vacuum as sweep

    report = sweep(opened, grace=timedelta(days=grace_days), dry_run=not delete)
    if as_json:
        print_document("vacuum", vacuum_document(report))
        return
    print_vacuum(report)


def _only_campaign(store: Store, named: str | None) -> str:
    """The campaign that is named, else the only one; no other may be meant where something is written."""
    from infra.rounds import campaigns

    names = campaigns(store)
    if not names:
        raise DataError(f"No campaign has begun in {store.url}: `adhmr run` begins one.")
    return options.named_or_only(named, names)


def _begins_with(beginning: str, policies: list[str], campaign: str) -> str:
    """The one policy whose digest begins so."""
    fitting = [digest for digest in policies if beginning and digest.startswith(beginning.lower())]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(digest[:12] for digest in policies) or "none"
    problem = "is the beginning of several digests" if fitting else "was never the policy"
    raise DataError(f"--to {beginning}: it {problem} of campaign {campaign}; those that were current: {listed}.")
