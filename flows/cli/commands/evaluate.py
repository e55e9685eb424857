"""The commands that measure a model: evaluate, by the engine's own figures or as the papers do, evaluate-scorer, and
compare, which only reads what these have measured."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server
from schemas.errors import ConfigError
from schemas.splits import WILD_TEST

if TYPE_CHECKING:
    from infra.store import Store


class Protocol(StrEnum):
    """How a policy is measured, other than by the engine's own figures."""

    published = "published"
    published_3dpw = "published-3dpw"
    published_human36m = "published-human36m"


def evaluate(
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Digest, or its beginning.", show_default="the current policy")
    ] = None,
    dataset: Annotated[str, typer.Option("--dataset", help="Data set to measure on.")] = WILD_TEST.dataset,
    split: Annotated[str, typer.Option("--split", help="Its split.")] = WILD_TEST.split,
    protocol: Annotated[
        Protocol | None,
        typer.Option("--protocol", help="As the papers measure; which alignment, goes by --data unless said."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATASET[/SPLIT]", help="Of --protocol: data set to measure on.")
    ] = None,
    hypotheses: Annotated[
        int | None, typer.Option("--m", min=2, help="Of --protocol: hypotheses for each person.", show_default="100")
    ] = None,
    scorer: Annotated[
        str | None, typer.Option("--scorer", metavar="FILE_OR_DIGEST", help="Of --protocol: the scorer that selects.")
    ] = None,
    body: Annotated[
        str | None,
        typer.Option("--body", metavar="DIR", help="Of --protocol: folder of body files.", show_default="profile's"),
    ] = None,
) -> None:
    """Measure a policy on a labelled split; with --protocol as the papers do, and then --policy may be a file."""
    for option, value in (("--data", data), ("--m", hypotheses), ("--scorer", scorer), ("--body", body)):
        if protocol is None and value is not None:
            raise ConfigError(f"{option} belongs to --protocol published; without it give --dataset and --split.")
    if protocol is not None and data is None:
        raise ConfigError("--protocol needs --data, such as --data 3dpw or --data 3dpw/test.")
    choices = options.choices(file, profile, campaign, seed, changes)
    opened, _ = options.early_checks(store, choices)
    from flows.run.early import check_evaluation
    from flows.run.user_pictures import check_there

    if protocol is not None and data is not None:
        check_there("folder of body files", body)
        server_is_ready = begin_server()
        from flows.evaluate_published import HYPOTHESES, evaluate_published

        server_is_ready()
        m = hypotheses or HYPOTHESES
        key = evaluate_published(
            data,
            store,
            **vars(choices),
            policy=policy,
            scorer=scorer,
            hypotheses=m,
            protocol=protocol.value,
            body=body,
        )
        _show_published(opened, key)
        return
    check_evaluation(opened, policy, dataset, split)
    server_is_ready = begin_server()
    from flows.evaluate import evaluate as evaluate_flow

    server_is_ready()
    key = evaluate_flow(store, **vars(choices), policy=policy, dataset=dataset, split=split)
    from flows.cli.show.stages import print_evaluation

    print_evaluation(opened, key)


def evaluate_scorer(
    scorer: Annotated[str, typer.Option("--scorer", metavar="FILE_OR_DIGEST", help="A file, or of the store.")],
    data: Annotated[str, typer.Option("--data", metavar="DATASET[/SPLIT]", help="Data set to measure on.")],
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="FILE_OR_DIGEST", help="Measure on its samples, not noised labels."),
    ] = None,
    seen_too: Annotated[
        bool, typer.Option("--seen-too", help="Measure on people too whom the scorer was trained on.")
    ] = False,
    hypotheses: Annotated[
        int, typer.Option("--m", min=2, help="Samples of each person, or how often each label is noised.")
    ] = 10,
    body: Annotated[
        str | None,
        typer.Option("--body", metavar="DIR", help="Body files that labels are posed with.", show_default="profile's"),
    ] = None,
) -> None:
    """How a scorer's scores go with errors, and what a score means in mm: of a policy's samples, or of noised labels.

    Without --policy, hypotheses of the split that were ingested with errors come before noised labels.
    """
    if policy is not None and body is not None:
        raise ConfigError("--body poses noised labels; for samples of --policy say --set body=DIR.")
    choices = options.choices(file, profile, campaign, seed, changes)
    opened, _ = options.early_checks(store, choices)
    from flows.run.user_pictures import check_there

    check_there("folder of body files", body)
    server_is_ready = begin_server()
    from flows.evaluate_published import evaluate_scorer as evaluate_scorer_flow

    server_is_ready()
    key = evaluate_scorer_flow(
        scorer, data, store, **vars(choices), policy=policy, seen_too=seen_too, hypotheses=hypotheses, body=body
    )
    _show_published(opened, key)


def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="Policy or evaluation by its beginning, round-2, or first.")],
    other: Annotated[
        str | None, typer.Argument(metavar="B", help="The same; of a round alone: before against after.")
    ] = None,
    store: options.StoreUrl = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--beside", metavar="STORE", help="A store of another seed; may be given again."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATASET/SPLIT", help="One split.", show_default="all of both")
    ] = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.ReadCampaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    as_json: options.Json = False,
) -> None:
    """Two policies, rounds or evaluations by every measure, with paired intervals; over seeds, with other stores."""
    quiet_start()
    opened, others = options.open_store(store), [options.open_store(name) for name in beside or ()]
    configured = options.choices(file, profile, campaign, seed, changes).configured()
    name = options.campaign_to_read(opened, configured)
    from flows.cli.comparison import compare as compared
    from flows.cli.documents import comparison_document, print_document
    from flows.cli.show.comparison import print_comparison
    from flows.run.steps.named import target_named

    target = target_named(data, "--data") if data is not None else None
    found = compared(opened, one, other, configured.config, name, others, target)
    if as_json:
        print_document("compare", comparison_document(found))
    else:
        print_comparison(found)


def _show_published(store: Store, key: str) -> None:
    from flows.cli.show.stages import print_published
    from infra.views import write_views_sql

    write_views_sql(store)
    print_published(store, key)
