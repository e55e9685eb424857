"""The commands that measure as the papers do. `flows.cli.main` puts them among the others."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import (
    CampaignOption,
    ProfileOption,
    SeedOption,
    SetOption,
    StoreOption,
    changed_fields,
    early_checks,
    open_store,
)
from flows.serve.temporary_server import begin_server
from schemas.errors import ConfigError, DataError


class Protocol(StrEnum):
    """How a policy is measured, other than by the engine's own figures."""

    published = "published"
    published_3dpw = "published-3dpw"
    published_human36m = "published-human36m"


ProtocolOption = Annotated[
    Protocol | None,
    typer.Option("--protocol", help="As the papers measure; which alignment, goes by --data unless said."),
]
DataOption = Annotated[
    str | None, typer.Option("--data", metavar="DATASET[/SPLIT]", help="Of --protocol: data set to measure on.")
]
HypothesesOption = Annotated[
    int | None, typer.Option("--m", min=2, help="Of --protocol: hypotheses for each person.", show_default="100")
]
ScorerOption = Annotated[
    str | None, typer.Option("--scorer", metavar="FILE_OR_DIGEST", help="Of --protocol: the scorer that selects.")
]
BodyOption = Annotated[
    str | None,
    typer.Option("--body", metavar="DIR", help="Of --protocol: folder of body files.", show_default="profile's"),
]


def evaluate_by_protocol(
    protocol: Protocol | None,
    data: str | None,
    hypotheses: int | None,
    policy: str | None,
    scorer: str | None,
    body: str | None,
    store: str | None,
    profile: str,
    campaign: str | None,
    seed: int,
    changes: list[str] | None,
) -> bool:
    """Whether a protocol was asked for, and then done. Raises ConfigError for its options without it."""
    options = {"--data": data, "--m": hypotheses, "--scorer": scorer, "--body": body}
    if protocol is None:
        stray = [name for name, value in options.items() if value is not None]
        if stray:
            raise ConfigError(f"{stray[0]} belongs to --protocol published; without it give --dataset and --split.")
        return False
    if data is None:
        raise ConfigError("--protocol needs --data, such as --data 3dpw or --data 3dpw/test.")
    fields = changed_fields(changes)
    early_checks(store, profile, campaign, seed, fields)
    _check_folder(body)
    server_is_ready = begin_server()
    from flows.evaluate_published import HYPOTHESES, evaluate_published

    server_is_ready()
    many = hypotheses or HYPOTHESES
    key = evaluate_published(data, store, profile, campaign, seed, policy, scorer, many, protocol.value, body, fields)
    _show(store, key)
    return True


def evaluate_scorer(
    scorer: Annotated[str, typer.Option("--scorer", metavar="FILE_OR_DIGEST", help="A file, or of the store.")],
    data: Annotated[str, typer.Option("--data", metavar="DATASET[/SPLIT]", help="Data set to measure on.")],
    store: StoreOption = None,
    profile: ProfileOption = "tiny",
    campaign: CampaignOption = None,
    seed: SeedOption = 0,
    changes: SetOption = None,
    hypotheses: Annotated[
        int, typer.Option("--m", min=2, help="How often each label is noised; the first is the label itself.")
    ] = 10,
    body: Annotated[
        str | None,
        typer.Option("--body", metavar="DIR", help="Body files that labels are posed with.", show_default="profile's"),
    ] = None,
) -> None:
    """Correlate a scorer's scores with errors: of ingested hypotheses that have some, or of noised labels."""
    fields = changed_fields(changes)
    early_checks(store, profile, campaign, seed, fields)
    _check_folder(body)
    server_is_ready = begin_server()
    from flows.evaluate_published import evaluate_scorer as evaluate_scorer_flow

    server_is_ready()
    _show(store, evaluate_scorer_flow(scorer, data, store, profile, campaign, seed, hypotheses, body, fields))


def _check_folder(body: str | None) -> None:
    if body is not None and not Path(body).expanduser().exists():
        raise DataError(f"There is no folder of body files at {body}.")


def _show(store: str | None, key: str) -> None:
    from flows.cli.show_published import print_published
    from infra.views import write_views_sql

    opened = open_store(store)
    write_views_sql(opened)
    print_published(opened, key)
