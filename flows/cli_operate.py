"""The commands by which somebody looks after a store: what runs, what happened, and back to an earlier policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_options import StoreOption, open_store
from flows.quiet import quiet_start
from flows.visible import visible
from schemas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from infra.store import Store

OneOrAll = Annotated[str | None, typer.Option("--campaign", help="Only this campaign.", show_default="all")]


def status(store: StoreOption = None, campaign: OneOrAll = None) -> None:
    """What runs now: campaigns and who works on them, open rounds, unfinished stages, Prefect's flow runs."""
    quiet_start()
    opened = open_store(store)
    from flows.show_campaigns import print_status
    from flows.status import status as look

    print_status(look(opened, campaign))


def rounds(store: StoreOption = None, campaign: OneOrAll = None) -> None:
    """What happened to the campaigns: rounds opened, promoted, kept, closed; what each trained, and its figures."""
    opened = open_store(store)
    from flows.lineage import lineage
    from flows.show import print_history
    from flows.show_campaigns import print_lineage
    from infra.rounds import history

    print_history(history(opened, campaign))
    print_lineage(lineage(opened, campaign))


def rollback(
    to: Annotated[str, typer.Option("--to", metavar="DIGEST", help="The policy, or the beginning of its digest.")],
    store: StoreOption = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="Name of the campaign.", show_default="the only one")
    ] = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the history.")] = "",
) -> None:
    """Make an earlier policy of the campaign current again: one more line in its history, nothing is removed."""
    opened = open_store(store)
    from infra.rounds import roll_back, state

    name = campaign or _only_campaign(opened)
    seen = state(opened, name)
    known = [e.policy for e in seen.events if e.policy and e.event in ("promoted", "rolled_back")]
    policy = _begins_with(to, list(dict.fromkeys(known)), name)
    if not roll_back(opened, name, policy, why or "by hand"):
        typer.echo(visible(f"Policy {policy[:12]} is current in campaign {name} already: nothing was written."))
        return
    before = f" instead of {seen.policy[:12]}" if seen.policy else ""
    typer.echo(visible(f"Policy {policy[:12]} is current in campaign {name} now{before}."))
    if seen.is_open:
        typer.echo(f"Round {seen.round} is open: it began with another policy; if it promotes, that one is current.")


def _only_campaign(store: Store) -> str:
    from infra.rounds import campaigns

    names = campaigns(store)
    if not names:
        raise DataError(f"No campaign has begun in {store.url}: there is no policy to go back to.")
    if len(names) > 1:
        raise ConfigError(f"There are {len(names)} campaigns ({', '.join(names)}): say which with --campaign.")
    return names[0]


def _begins_with(beginning: str, policies: list[str], campaign: str) -> str:
    """The one policy whose digest begins so."""
    fitting = [digest for digest in policies if beginning and digest.startswith(beginning.lower())]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(digest[:12] for digest in policies) or "none"
    problem = "is the beginning of several digests" if fitting else "was never the policy"
    raise DataError(f"--to {beginning}: it {problem} of campaign {campaign}; those that were current: {listed}.")
