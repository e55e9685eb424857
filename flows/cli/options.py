"""What the commands of `adhmr` share: options, and the checks and openings that most of them begin with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.process import surroundings
from flows.process.quiet import quiet_start
from schemas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from flows.run.configuration import Choices
    from infra.store import Store
    from schemas.config.engine import EngineConfig
    from schemas.layers import Configured


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"adhmr-engine {version('adhmr-engine')}")
        raise typer.Exit


def _campaign(default: str, variable: str | None = None) -> Any:
    about = "Name of the campaign, which is a sequence of rounds."
    return typer.Option("--campaign", envvar=variable, help=about, show_default=default)


Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", envvar="ADHMR_STORE", help="A path or s3:// URL.", show_default="./adhmr-store"),
]
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="Campaign file (YAML): a path or URL.", show_default="ADHMR_CONFIG"),
]
CampaignsFile = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="Campaign file that names the campaign.")
]


def _profiles(incomplete: str) -> list[str]:
    from schemas.profiles import PROFILES

    return [name for name in PROFILES if name.startswith(incomplete)]


def _fields(incomplete: str) -> list[str]:
    """The fields of the configuration, for the shell."""
    from schemas.config.engine import EngineConfig
    from schemas.fields import fields

    every = (f"{field.name}=" for field in fields(EngineConfig(profile="tiny")))
    return [name for name in every if name.startswith(incomplete)]


Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="tiny, micro or paper.",
        show_default="the file's, or tiny",
        autocompletion=_profiles,
    ),
]
Campaign = Annotated[str | None, _campaign("the file's, or the profile's")]
ReadCampaign = Annotated[str | None, _campaign("the file's or profile's, or the only one")]
OnlyCampaign = Annotated[str | None, _campaign("the only one", "ADHMR_CAMPAIGN")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all stages.", show_default="the file's, or 0")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a configuration field: align.beta=10", autocompletion=_fields
    ),
]
Images = Annotated[str | None, typer.Option("--images", help="Folder of your own photographs.")]
Boxes = Annotated[
    str | None,
    typer.Option(
        "--boxes",
        help="Table of the people in them: path, x, y, w, h (CSV, Parquet, JSON); or what a detector wrote.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option("--labels", metavar="FILE|ingested", help="Clean this table of labels, or what people have."),
]
SwapShare = Annotated[
    float | None,
    typer.Option("--swap-share", min=0, max=1, help="Swap this share of the pseudo-labels, to measure the filter."),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON document for programs, and nothing else; docs/json.md has its fields.")
]
FollowLinks = Annotated[
    str | None,
    typer.Option("--follow-links", metavar="DIR", help="Follow links of pictures and folders that stay within DIR."),
]


def pairs_of(pairs: list[str] | None, flag: str, example: str) -> dict[str, str]:
    """Names and values of words like NAME=VALUE. Raises ConfigError, which names the flag, for other words."""
    fields = {}
    for pair in pairs or []:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise ConfigError(f"{flag} {pair}: {example}.")
        fields[name.strip()] = value.strip()
    return fields


def changed_fields(pairs: list[str] | None, swap_share: float | None = None) -> dict[str, str]:
    """The fields that --set changes, and --swap-share."""
    fields = pairs_of(pairs, "--set", "give a field and a value, such as --set align.beta=10")
    if swap_share is not None:
        fields["clean.swap_share"] = str(swap_share)
    return fields


def choices(
    config: str | None,
    profile: str | None,
    campaign: str | None,
    seed: int | None = None,
    changes: list[str] | None = None,
    swap_share: float | None = None,
) -> Choices:
    """What a command says of the configuration."""
    from flows.run.configuration import Choices

    return Choices(profile, campaign, seed, changed_fields(changes, swap_share), config)


def of_store(store: str | None) -> list[str]:
    """The option that the next command needs as well, to be about the same store."""
    return [] if store in (None, os.environ.get("ADHMR_STORE")) else ["--store", str(store)]


def of_configuration(
    file: str | None, profile: str | None, campaign: str | None, seed: int | None, changes: list[str] | None
) -> list[str]:
    """The options that the next command needs as well, to have the same configuration."""
    said = (
        ("--config", file),
        ("--profile", profile),
        ("--campaign", campaign),
        ("--seed", seed),
        *(("--set", one) for one in changes or ()),
    )
    return [str(word) for option, value in said if value is not None for word in (option, value)]


def early_checks(
    store: str | None,
    choices: Choices,
    images: str | None = None,
    boxes: str | None = None,
    labels: str | None = None,
    *,
    a_round: bool = False,
    of_campaign: bool = True,
) -> tuple[Store, EngineConfig]:
    """Check configuration, machine, store, lease and the user's files before anything slow begins.

    Gives the store, which is made if it isn't there, and the configuration. For `a_round` all that the configuration
    names is looked at. What is not `of_campaign` waits for no run.
    """
    quiet_start()
    config = choices.configured().config
    from flows.run.lease import refuse_if_busy
    from flows.run.user_pictures import user_pictures
    from infra.store import Store as Opener

    own = user_pictures(images, boxes)
    surroundings.refuse()
    opened = Opener.open(store)
    if of_campaign:
        refuse_if_busy(opened, config.campaign)
    if own is not None or labels is not None or (a_round and _names_something(config)):
        from flows.run.early import check_round
        from tasks.engine.context import Context

        check_round(Context(opened, config), own, labels)
    return opened, config


def _names_something(config: EngineConfig) -> bool:
    """Whether there is more to be looked at than the engine's own world and models, which the flow looks at soon."""
    from schemas.config.sources import SourcesConfig, StartConfig

    return (config.start, config.sources, config.data) != (StartConfig(), SourcesConfig(), ())


def campaign_to_read(store: Store, configured: Configured) -> str:
    """The campaign that a reading command is about: the one named, else the usual one, else the only one of the store.

    In a store without any it is the usual one. Raises DataError for a name that no campaign has, ConfigError where the
    usual one has not begun and there are several others.
    """
    from infra.rounds import campaigns

    names, name = campaigns(store), configured.config.campaign
    is_named = "campaign" in configured.origins
    return name if not is_named and (name in names or not names) else named_or_only(name if is_named else None, names)


def campaign_of(file: str | None, campaign: str | None) -> str | None:
    """The campaign that is named, or that a campaign file is for; None where neither is given."""
    if campaign is not None or file is None:
        return campaign
    return choices(file, None, None).configured().config.campaign


def named_or_only(named: str | None, names: Sequence[str]) -> str:
    """The name that is given, else the only one there is. DataError for an unknown one, ConfigError for several."""
    if named is not None:
        check_campaign(named, names)
        return named
    if len(names) > 1:
        raise ConfigError(f"There are {len(names)} campaigns ({', '.join(names)}): say which with --campaign.")
    return names[0]


def check_campaign(named: str, names: Collection[str]) -> None:
    """Raise DataError, which lists all campaigns, for a name that none has."""
    if named not in names:
        listed = f"there are: {', '.join(sorted(names))}" if names else "none has begun: `adhmr run` begins one"
        raise DataError(f"There is no campaign {named}; {listed}.")


def open_store(store: str | None) -> Store:
    """The store, to be read. StoreError where there is none."""
    from infra.store import Store as Opener

    return Opener.open(store, create=False)


def writable_store(store: str | None) -> Store:
    """The store, to be written to. StoreError where there is none, or this user may not write to it."""
    from infra.store import Store as Opener

    open_store(store)  # to make one is not for commands that need what is in it
    return Opener.open(store)
