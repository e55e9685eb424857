"""The commands that do rounds: run (DPO), clean, campaign (one after the other); and clean-sweep, which tries cleaning
out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.serve.temporary_server import begin_server
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from infra.store import Store
    from schemas.config.engine import EngineConfig
    from tasks.report.facts import RoundFacts


def run(
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    images: options.Images = None,
    boxes: options.Boxes = None,
) -> None:
    """A whole DPO round. What is missing is made first, a killed round goes on, else the next one begins."""
    choices = options.choices(file, profile, campaign, seed, changes)
    opened, config = options.early_checks(store, choices, images, boxes, a_round=True)
    server_is_ready = begin_server()
    from flows.dpo_round import dpo_round
    from flows.run.decision.reviewed import Waiting
    from flows.run.round_artifacts import facts_of

    server_is_ready()
    facts = facts_of(dpo_round, store, **vars(choices), images=images, boxes=boxes)
    of_store = options.of_store(store)
    again = of_store + options.of_configuration(file, profile, campaign, seed, changes)
    if isinstance(facts, Waiting):
        from flows.cli.show.reviews import print_waiting

        pictures = [
            word for option, value in (("--images", images), ("--boxes", boxes)) if value for word in (option, value)
        ]
        print_waiting(facts, again + pictures, of_store)
        return
    _summarise(opened, config, facts, again)


def clean(
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    images: options.Images = None,
    boxes: options.Boxes = None,
    labels: options.Labels = None,
    swap_share: options.SwapShare = None,
) -> None:
    """A cleaning round: pseudo-label, score, keep the best share, train on it, evaluate."""
    choices = options.choices(file, profile, campaign, seed, changes, swap_share)
    opened, config = options.early_checks(store, choices, images, boxes, labels, a_round=True)
    server_is_ready = begin_server()
    from flows.clean_round import clean_round
    from flows.run.decision.reviewed import Waiting
    from flows.run.round_artifacts import facts_of

    server_is_ready()
    facts = facts_of(clean_round, store, **vars(choices), images=images, boxes=boxes, labels=labels)
    assert not isinstance(facts, Waiting)
    again = options.of_store(store) + options.of_configuration(file, profile, campaign, seed, changes)
    _summarise(opened, config, facts, again)


def campaign(
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=1, help="Rounds in all, with those that are done.", show_default="rounds.count"),
    ] = None,
    clean_every: Annotated[
        int | None,
        typer.Option(
            "--clean-every",
            min=0,
            metavar="N",
            help="Each N-th is a cleaning round.",
            show_default="rounds.clean_every",
        ),
    ] = None,
) -> None:
    """Rounds in a row, each from the newest promoted policy, until they are done or the gates say no twice in a row.

    Killed and started again, it goes on where it was, and counts the rounds that are done.
    """
    asked = {"rounds.count": rounds, "rounds.clean_every": clean_every}
    words = [*(changes or ()), *(f"{name}={value}" for name, value in asked.items() if value is not None)]
    choices = options.choices(file, profile, campaign, seed, words)
    opened, config = options.early_checks(store, choices, a_round=True)
    server_is_ready = begin_server()
    from flows.campaign import campaign as rounds_in_a_row
    from flows.cli.show.course import print_course
    from infra.views import write_views_sql

    server_is_ready()
    course = rounds_in_a_row(store, **vars(choices))
    write_views_sql(opened)
    said = options.of_store(store) + options.of_configuration(file, profile, campaign, seed, words)
    print_course(opened, config, course, said)


def clean_sweep(
    ratio: Annotated[
        list[float] | None,
        typer.Option("--ratio", help="Share to keep; may be given again.", show_default="0.3, 0.5, 0.7, 0.9, 1"),
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Train a policy on each, and measure it.")] = False,
    at_random: Annotated[bool, typer.Option("--random", help="As many labels at random, too.")] = False,
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    labels: options.Labels = None,
    swap_share: options.SwapShare = None,
) -> None:
    """What each share of the scored labels would keep; with --train, what it is worth on validation."""
    wrong = [one for one in ratio or () if not 0 < one <= 1]
    if wrong:
        raise ConfigError(f"--ratio {wrong[0]:g}: a share that is kept lies above 0 and is at most 1.")
    choices = options.choices(file, profile, campaign, seed, changes, swap_share)
    opened, config = options.early_checks(store, choices, labels=labels, a_round=True)
    server_is_ready = begin_server()
    from flows.clean_sweep import RATIOS
    from flows.clean_sweep import clean_sweep as sweep
    from flows.cli.show.sweep import print_sweep

    server_is_ready()
    shares = ratio or list(RATIOS)
    points = sweep(store, **vars(choices), ratios=shares, train=train, at_random=at_random, labels=labels)
    print_sweep(opened, points, config.sources.targets("validation"))


def _summarise(store: Store, config: EngineConfig, facts: RoundFacts, said: list[str]) -> None:
    from flows.cli.show.summary import print_summary
    from infra.views import write_views_sql

    write_views_sql(store)
    print_summary(store, config, facts, said)
