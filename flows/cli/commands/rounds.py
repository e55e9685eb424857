"""The commands that do a round: run (DPO) and clean."""

from __future__ import annotations

from importlib import import_module

from flows.cli import options
from flows.serve.temporary_server import begin_server


def run(
    store: options.StoreUrl = None,
    profile: options.Profile = "tiny",
    campaign: options.Campaign = None,
    seed: options.Seed = 0,
    changes: options.Changes = None,
    images: options.Images = None,
    boxes: options.Boxes = None,
) -> None:
    """A whole DPO round. What is missing is made first, a killed round goes on, else the next one begins."""
    _do("dpo_round", options.changed_fields(changes), (store, profile, campaign, seed), images, boxes)


def clean(
    store: options.StoreUrl = None,
    profile: options.Profile = "tiny",
    campaign: options.Campaign = None,
    seed: options.Seed = 0,
    changes: options.Changes = None,
    images: options.Images = None,
    boxes: options.Boxes = None,
    labels: options.Labels = None,
    swap_share: options.SwapShare = None,
) -> None:
    """A cleaning round: pseudo-label, score, keep the best share, train on it, evaluate."""
    fields = options.changed_fields(changes, swap_share)
    _do("clean_round", fields, (store, profile, campaign, seed), images, boxes, labels)


def _do(name: str, fields: dict[str, str], run: tuple[str | None, str, str | None, int], *own: str | None) -> None:
    """Do a round by the flow `name`, of the module of that name: it takes `run`, the user's `own` files and `fields`.

    `run` is store, profile, campaign and seed.
    """
    opened, config = options.early_checks(*run, fields, *own)
    server_is_ready = begin_server()
    round_flow = getattr(import_module(f"flows.{name}"), name)
    from flows.cli.show.summary import print_summary
    from flows.run.round_artifacts import facts_of
    from infra.views import write_views_sql

    server_is_ready()
    facts = facts_of(round_flow, *run, *own, fields)
    write_views_sql(opened)
    print_summary(opened, config, facts)
