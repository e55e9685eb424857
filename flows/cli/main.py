"""The command line `adhmr`. Heavy libraries are imported by the command that needs them, so that the rest is quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from flows.cli import data as cli_data
from flows.cli import init as cli_init
from flows.cli import operate as cli_operate
from flows.cli import published as cli_published
from flows.cli.options import (
    CampaignOption,
    ProfileOption,
    ReadCampaignOption,
    SeedOption,
    SetOption,
    StoreOption,
    VersionOption,
    campaign_to_read,
    changed_fields,
    configured,
    early_checks,
    open_store,
)
from flows.process.errors import clear_errors
from flows.process.quiet import quiet_start
from flows.process.supervised import supervised
from flows.process.surroundings import settle
from flows.serve.temporary_server import begin_server
from schemas.errors import ConfigError, DataError
from schemas.splits import WILD_TEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.doctor.machine import Finding
    from infra.store import Store
    from schemas.config.engine import EngineConfig
    from tasks.report.facts import RoundFacts


class _Clear(TyperGroup):
    """Errors that a person can cure end any command with one line."""

    def invoke(self, ctx: Any) -> Any:
        settle()
        with clear_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Clear,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="ADHMR data engine: align a diffusion model for human mesh recovery with preferences, round after round.",
)


@app.callback()
def _options(version: VersionOption = False) -> None: ...


ImagesOption = Annotated[str | None, typer.Option("--images", help="Folder of your own photographs.")]
BoxesOption = Annotated[
    str | None,
    typer.Option("--boxes", help="Table of the people in them: path, x, y, w, h (CSV, Parquet, JSON)."),
]
LabelsOption = Annotated[
    str | None, typer.Option("--labels", help="Parquet table of pseudo-labels to clean, instead of the policy's own.")
]
SwapOption = Annotated[
    float | None,
    typer.Option("--swap-share", min=0, max=1, help="Swap this share of the pseudo-labels, to measure the filter."),
]


@app.command()
def run(
    store: StoreOption = None,
    profile: ProfileOption = "tiny",
    campaign: CampaignOption = None,
    seed: SeedOption = 0,
    changes: SetOption = None,
    images: ImagesOption = None,
    boxes: BoxesOption = None,
) -> None:
    """A whole DPO round. What is missing is made first, a killed round goes on, else the next one begins."""
    fields = changed_fields(changes)
    early_checks(store, profile, campaign, seed, fields, images, boxes)
    server_is_ready = begin_server()
    from flows.dpo_round import dpo_round
    from flows.run.round_artifacts import facts_of

    server_is_ready()
    facts = facts_of(dpo_round, store, profile, campaign, seed, images, boxes, fields)
    _summarise(store, profile, campaign, seed, fields, facts)


@app.command()
def clean(
    store: StoreOption = None,
    profile: ProfileOption = "tiny",
    campaign: CampaignOption = None,
    seed: SeedOption = 0,
    changes: SetOption = None,
    images: ImagesOption = None,
    boxes: BoxesOption = None,
    labels: LabelsOption = None,
    swap_share: SwapOption = None,
) -> None:
    """A cleaning round: pseudo-label, score, keep the best share, train on it, evaluate."""
    fields = changed_fields(changes, swap_share)
    early_checks(store, profile, campaign, seed, fields, images, boxes, labels)
    server_is_ready = begin_server()
    from flows.clean_round import clean_round
    from flows.run.round_artifacts import facts_of

    server_is_ready()
    facts = facts_of(clean_round, store, profile, campaign, seed, images, boxes, labels, fields)
    _summarise(store, profile, campaign, seed, fields, facts)


@app.command()
def evaluate(
    store: StoreOption = None,
    profile: ProfileOption = "tiny",
    campaign: CampaignOption = None,
    seed: SeedOption = 0,
    changes: SetOption = None,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Digest, or its beginning.", show_default="the current policy")
    ] = None,
    dataset: Annotated[str, typer.Option("--dataset", help="Data set to measure on.")] = WILD_TEST.dataset,
    split: Annotated[str, typer.Option("--split", help="Its split.")] = WILD_TEST.split,
    protocol: cli_published.ProtocolOption = None,
    data: cli_published.DataOption = None,
    hypotheses: cli_published.HypothesesOption = None,
    scorer: cli_published.ScorerOption = None,
    body: cli_published.BodyOption = None,
) -> None:
    """Measure a policy on a labelled split; with --protocol as the papers do, and then --policy may be a file."""
    if cli_published.evaluate_by_protocol(
        protocol, data, hypotheses, policy, scorer, body, store, profile, campaign, seed, changes
    ):
        return
    fields = changed_fields(changes)
    early_checks(store, profile, campaign, seed, fields)
    from flows.run.early import check_evaluation

    check_evaluation(open_store(store), policy, dataset, split)
    server_is_ready = begin_server()
    from flows.evaluate import evaluate as evaluate_flow

    server_is_ready()
    key = evaluate_flow(store, profile, campaign, seed, policy, dataset, split, fields)
    from flows.cli.show import print_evaluation

    print_evaluation(open_store(store), key)


@app.command()
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
    from flows.cli.show import print_plan
    from flows.run.user_pictures import user_pictures
    from tasks.engine.context import Context

    context = Context(_open_or_imagine(store), config)
    print_plan(plan_round(context, "clean" if cleaning else "dpo", user_pictures(images, boxes), labels))


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT in DuckDB's SQL; docs/queries.md has examples.")],
    store: StoreOption = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values instead of a table.")] = False,
) -> None:
    """Ask the tables: adhmr query "SELECT * FROM rounds"."""
    opened = open_store(store)
    from flows.cli.show import print_rows
    from infra.views import query as ask
    from infra.views import refresh_views_sql

    print_rows(ask(opened, sql), as_csv)
    problem = refresh_views_sql(opened)
    if problem:
        typer.echo(f"note: {problem}", err=True)


@app.command()
def report(
    number: Annotated[int | None, typer.Option("--round", min=1, show_default="the newest")] = None,
    store: StoreOption = None,
    profile: ProfileOption = "tiny",
    campaign: ReadCampaignOption = None,
    seed: SeedOption = 0,
    changes: SetOption = None,
) -> None:
    """The summary of a round and where its page is."""
    quiet_start()
    opened = open_store(store)
    config = configured(profile, campaign, seed, changed_fields(changes))
    name = campaign_to_read(opened, campaign, config.campaign)
    from flows.cli.show import console
    from flows.cli.summary import print_summary
    from infra import rounds
    from tasks.report.stage import read_configuration, read_facts

    seen = rounds.state(opened, name)
    chosen = number or seen.newest_reported
    if chosen == 0:
        raise DataError(f"Campaign {name} has no closed round yet: `adhmr run` makes one.")
    if (why := seen.abandoned(chosen)) is not None:
        raise DataError(f"Round {chosen} of campaign {name} was abandoned and has no report: {why}")
    facts = read_facts(opened, name, chosen)
    config = read_configuration(opened, facts, config)
    print_summary(console(), opened, config, facts)
    _restore_page(opened, config, facts)


@app.command("import")
def import_file(
    checkpoint: Annotated[Path, typer.Argument(help="A published checkpoint, or one of another store.")],
    store: StoreOption = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Published files: the weights that training goes on from, not the averages.")
    ] = False,
) -> None:
    """Take a policy or a scorer from a file into the store; `adhmr doctor --checkpoint` says what a file is."""
    quiet_start()
    from infra.store import Store as Opener
    from schemas.profiles import paper
    from tasks.engine.context import Context
    from tasks.import_model import import_model

    digest = import_model(Context(Opener.open(store), paper()), checkpoint, "raw" if raw else None)
    typer.echo(f"{checkpoint} is model {digest[:12]} of this store.")


@app.command()
def doctor(
    store: StoreOption = None,
    profile: ProfileOption = "tiny",
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="Look at this checkpoint instead.")
    ] = None,
    body: Annotated[
        Path | None,
        typer.Option(
            "--body", metavar="DIR", help="Look at this folder of body files instead; of --data: pose with it."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="URL", help="Look at this file or folder of data instead.")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="Of --data: the format that it is in.", show_default="told by it")
    ] = None,
    images: Annotated[str | None, typer.Option("--images", help="Of --data: the folder of its pictures.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read everything in the store, and compare it with what was said of it.")
    ] = False,
    follow_links: cli_data.FollowOption = None,
) -> None:
    """What this machine has for the engine, or what a file is; the exit code says whether anything is in the way."""
    if data is None and (format, images, follow_links) != (None, None, None):
        raise ConfigError("--format, --images and --follow-links say how to look at data: name it with --data.")
    if deep and (data or checkpoint or body):
        raise ConfigError("--deep looks at the store, and --data, --checkpoint and --body at files: take one of them.")
    quiet_start()
    config = configured(profile, None, 0, {})
    from flows.cli.show import print_finding

    examined = _examined(store, config.body, checkpoint, body)
    if data is not None:
        from flows.doctor.data import examine_data

        body_folder = None if body is None else str(body)
        examined = examine_data(data, format, images, body_folder, config.ingest, follow_links=follow_links)
    if deep:
        from flows.doctor.deep import examine_deep

        examined = examine_deep(store)
    problems = 0
    for finding in examined:
        print_finding(finding)
        problems += finding.level == "problem"
    if problems:
        raise typer.Exit(1)


app.command()(cli_init.init)
app.command()(cli_operate.status)
app.command()(cli_operate.rounds)
app.command()(cli_operate.close)
app.command()(cli_operate.rollback)
app.command()(cli_operate.repair)
app.command()(cli_data.ingest)
app.command()(cli_data.export)
app.command("evaluate-scorer")(cli_published.evaluate_scorer)


@app.command()
def vacuum(
    store: StoreOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without it they are only listed.")] = False,
    grace_days: Annotated[float, typer.Option("--grace-days", min=0, help="Leave younger files alone.")] = 7.0,
) -> None:
    """Files that no table refers to and no run is working on."""
    opened = open_store(store)
    from datetime import timedelta

    from flows.cli.show import print_vacuum
    from infra.vacuum import vacuum as sweep

    print_vacuum(sweep(opened, grace=timedelta(days=grace_days), dry_run=not delete))


def main() -> None:
    """The entry point of the console script."""
    supervised(app)


def _examined(store: str | None, name: str, checkpoint: Path | None, body: Path | None) -> Iterator[Finding]:
    from flows.doctor.bodies import examine_bodies
    from flows.doctor.checkpoint import examine_checkpoint
    from flows.doctor.machine import examine

    if checkpoint is None and body is None:
        yield from examine(store, name)
    if checkpoint is not None:
        yield from examine_checkpoint(checkpoint)
    if body is not None:
        yield from examine_bodies(body)


def _open_or_imagine(store: str | None) -> Store:
    """The store; or, where it isn't there yet and can be made, an empty one in its place that nothing is written to."""
    from infra.store import Store as Opener

    named = Opener.at(store)
    if not named.is_local or Path(named.root).exists():
        return Opener.open(store, create=False)
    typer.echo(f"There is no store at {named.root} yet: a run would make it.")
    return named


def _restore_page(store: Store, config: EngineConfig, facts: RoundFacts) -> None:
    """Write the page of a round again if somebody removed it, and this user may write."""
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


def _summarise(
    store: str | None, profile: str, campaign: str | None, seed: int, fields: dict[str, str], facts: RoundFacts
) -> None:
    from flows.cli.show import console
    from flows.cli.summary import print_summary
    from infra.views import write_views_sql

    opened = open_store(store)
    write_views_sql(opened)
    print_summary(console(), opened, configured(profile, campaign, seed, fields), facts)


if __name__ == "__main__":
    main()
