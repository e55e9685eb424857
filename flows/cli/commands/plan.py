"""The command plan: a round that is only looked up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from infra.store import Store


def plan(
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    images: options.Images = None,
    boxes: options.Boxes = None,
    cleaning: Annotated[bool, typer.Option("--clean", help="Of a cleaning round instead of a DPO round.")] = False,
    labels: options.Labels = None,
    swap_share: options.SwapShare = None,
    as_json: options.Json = False,
) -> None:
    """What the next round would reuse, resume and run, and why. Starts nothing."""
    if not cleaning and (labels is not None or swap_share is not None):
        raise ConfigError("--labels and --swap-share belong to cleaning rounds: add --clean.")
    quiet_start()
    configured = options.choices(file, profile, campaign, seed, changes, swap_share).configured()
    from flows.cli.documents import plan_document, print_document
    from flows.cli.plan import plan_round
    from flows.cli.show.findings import print_plan
    from flows.run.early import check_round
    from flows.run.user_pictures import user_pictures
    from tasks.engine.context import Context

    opened, is_there = _open_or_imagine(store)
    context, own = Context(opened, configured.config), user_pictures(images, boxes)
    check_round(context, own, labels, machine=False)
    if not is_there:
        typer.echo(f"There is no store at {opened.root} yet: a run would make it.", err=True)
    found = plan_round(context, "clean" if cleaning else "dpo", own, labels, configured)
    if as_json:
        print_document("plan", plan_document(found))
        return
    print_plan(found)


def _open_or_imagine(store: str | None) -> tuple[Store, bool]:
    """The store and whether it is there; where it isn't and can be made, an empty one that nothing is written to."""
    from infra.store import Store as Opener

    named = Opener.at(store)
    if not named.is_local or Path(named.root).exists():
        return Opener.open(store, create=False), True
    return named, False
