"""The command plan: a round that is only looked up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import (
    BoxesOption,
    CampaignOption,
    ImagesOption,
    LabelsOption,
    ProfileOption,
    SeedOption,
    SetOption,
    StoreOption,
    SwapOption,
    changed_fields,
    configured,
)
from flows.process.quiet import quiet_start
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from infra.store import Store


def plan(
    store: StoreOption = None,
    profile: ProfileOption = "tiny",
    campaign: CampaignOption = None,
    seed: SeedOption = 0,
    changes: SetOption = None,
    images: ImagesOption = None,
    boxes: BoxesOption = None,
    cleaning: Annotated[bool, typer.Option("--clean", help="Of a cleaning round instead of a DPO round.")] = False,
    labels: LabelsOption = None,
    swap_share: SwapOption = None,
) -> None:
    """What the next round would reuse, resume and run, and why. Starts nothing."""
    if not cleaning and (labels is not None or swap_share is not None):
        raise ConfigError("--labels and --swap-share belong to cleaning rounds: add --clean.")
    quiet_start()
    fields = changed_fields(changes, swap_share)
    config = configured(profile, campaign, seed, fields)
    from flows.cli.plan import plan_round
    from flows.cli.show.findings import print_plan
    from flows.run.user_pictures import user_pictures
    from tasks.engine.context import Context

    context = Context(_open_or_imagine(store), config)
    print_plan(plan_round(context, "clean" if cleaning else "dpo", user_pictures(images, boxes), labels))


def _open_or_imagine(store: str | None) -> Store:
    """The store; or, where it isn't there yet and can be made, an empty one in its place that nothing is written to."""
    from infra.store import Store as Opener

    named = Opener.at(store)
    if not named.is_local or Path(named.root).exists():
        return Opener.open(store, create=False)
    typer.echo(f"There is no store at {named.root} yet: a run would make it.")
    return named
