"""The commands that take data in and give it out again: ingest and export."""

from __future__ import annotations

import pkgutil
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server
from schemas.errors import ConfigError, GateError
from tasks.ingest import formats

if TYPE_CHECKING:
    from infra.store import Store

# of their folders alone: the formats themselves would take a second to load
_FOLDERS = [module.name for module in pkgutil.iter_modules(formats.__path__) if module.ispkg]
FORMATS = ", ".join(sorted(name.replace("_", "-") for name in _FOLDERS))


class Form(StrEnum):
    """What can be exported."""

    dpo_json = "dpo-json"
    humandata = "humandata"
    bodies = "bodies"
    trl = "trl"
    checkpoint = "checkpoint"
    hub = "hub"

    @property
    def is_of_models(self) -> bool:
        """Whether it is a model that has this form, not rows of tables."""
        return self in (Form.checkpoint, Form.hub)


class Become(StrEnum):
    """What rows of bodies may become."""

    hypotheses = "hypotheses"
    labels = "labels"


def ingest(
    format: Annotated[str, typer.Option("--format", help=f"{FORMATS}; `adhmr doctor --data URL` tells which.")],
    source: Annotated[str, typer.Option("--source", metavar="URL", help="The file; for folder, the folder.")],
    dataset: Annotated[str, typer.Option("--dataset", metavar="NAME", help="Name that the data set gets.")],
    split: Annotated[str, typer.Option("--split", help="train, validation, test, ...")],
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    changes: options.Changes = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Take every N-th row of the file (or frame).")] = 1,
    images: Annotated[
        str | None, typer.Option("--images", metavar="DIR", help="Folder that the paths of pictures start from.")
    ] = None,
    body: Annotated[
        str | None,
        typer.Option(
            "--body", metavar="DIR", help="Published body files that pose the labels; or tiny or full, the free body."
        ),
    ] = None,
    boxes: Annotated[
        str | None, typer.Option("--boxes", metavar="FILE", help="Of folder and video: table of the people's boxes.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="FILE", help="Of folder: Parquet table of the people's bodies.")
    ] = None,
    become: Annotated[
        Become | None, typer.Option("--as", help="Of bodies: what rows become.", show_default="hypotheses")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="An option of the format.")
    ] = None,
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="Take pictures that another split of the data set has.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of another source that was ingested as this split.")
    ] = False,
    follow_links: options.FollowLinks = None,
) -> None:
    """Take your own data into the store: pictures, annotations, pairs or hypotheses."""
    choices = options.choices(file, profile, campaign, None, changes)
    chosen = options.pairs_of(option, "--option", "give an option and a value, such as --option zero_betas=true")
    flags = (("boxes", boxes), ("labels", labels), ("as", become and become.value))
    chosen |= {name: value for name, value in flags if value is not None}
    quiet_start()
    from flows.run.ingest_request import request

    named = (format, source, dataset, split)
    request(*named, every, images, body, chosen, allow_leakage, replace, follow_links)
    opened, _ = options.early_checks(store, choices)
    server_is_ready = begin_server()
    from flows.ingest import ingest as ingest_flow

    server_is_ready()
    try:
        key = ingest_flow(
            *named,
            store,
            choices.profile,
            choices.campaign,
            every,
            images,
            body,
            chosen,
            allow_leakage,
            replace,
            choices.changes,
            follow_links,
            choices.config,
        )
    except GateError as stop:
        if stop.stage_key is not None:
            _show(opened, stop.stage_key)
        raise  # so that what stopped it is said last
    _show(opened, key, options.of_store(store) + options.of_configuration(file, profile, None, None, changes))


def _show(store: Store, key: str, said: list[str] | None = None) -> None:
    """What an ingest did and, where nothing stopped it, the next command with the options that it was typed with."""
    from flows.cli.show.stages import print_ingest
    from infra.views import write_views_sql

    write_views_sql(store)
    print_ingest(store, key, said)


def export(
    form: Annotated[
        Form, typer.Option("--to", help="Pairs: dpo-json, trl; labels: humandata, bodies; a model: checkpoint, hub.")
    ],
    target: Annotated[
        str, typer.Option("--target", metavar="PATH", help="File, or for trl and hub new folder, to write.")
    ],
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    pair_set: Annotated[
        str | None, typer.Option("--pair-set", metavar="KEY", help="These pairs: their stage's key or its beginning.")
    ] = None,
    label_set: Annotated[
        str | None, typer.Option("--label-set", metavar="KEY", help="These labels: their stage's key or its beginning.")
    ] = None,
    hypotheses: Annotated[
        str | None,
        typer.Option("--hypotheses", metavar="KEY", help="As bodies: hypotheses, by their stage's key."),
    ] = None,
    scores: Annotated[
        str | None, typer.Option("--scores", metavar="KEY", help="Beside these hypotheses: their scores, likewise.")
    ] = None,
    number: Annotated[
        int | None, typer.Option("--round", min=1, help="What this round made: its pairs, or the labels that it kept.")
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only people of this data set.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="And of this split of it.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="DIGEST", help="This policy or scorer.", show_default="the campaign's current policy"
        ),
    ] = None,
) -> None:
    """Write pairs, labels or a model in a form that others read; without more words, the campaign's newest."""
    quiet_start()
    if form.is_of_models and (pair_set, number, dataset, split) != (None, None, None, None):
        raise ConfigError(
            f"--pair-set, --round, --dataset and --split choose rows; --to {form} writes a model: --model."
        )
    if model is not None and not form.is_of_models:
        raise ConfigError(f"--model belongs to --to checkpoint and --to hub; --to {form} writes rows.")
    if scores is not None and hypotheses is None:
        raise ConfigError("--scores belongs to --hypotheses: name those as well.")
    if hypotheses is not None and (form, pair_set, label_set, number, dataset) != (Form.bodies, *[None] * 4):
        raise ConfigError("--hypotheses stands alone, and belongs to --to bodies.")
    opened = options.open_store(store)
    configured = options.choices(file, profile, campaign).configured()
    from flows.cli import export as out

    if hypotheses is not None:
        from tasks.engine.context import Context

        typer.echo(out.export_hypotheses(Context(opened, configured.config), hypotheses, scores, target))
        return

    if form.is_of_models:
        name = configured.config.campaign if model else options.campaign_to_read(opened, configured)
        typer.echo(out.export_model(opened, form, target, name, model))
        return
    campaign_of_rows = configured.config.campaign
    typer.echo(out.export(opened, form, target, campaign_of_rows, pair_set, number, dataset, split, label_set))
