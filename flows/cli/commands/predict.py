"""The command predict: the bodies of the people in your photographs, as files."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server


class Take(StrEnum):
    """Which body of a person is written."""

    zero = "zero"
    selected = "selected"
    all = "all"


def predict(
    images: Annotated[str, typer.Option("--images", metavar="DIR", help="Folder of photographs.")],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="New folder for the bodies; a path or URL.")],
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    campaign: options.Campaign = None,
    seed: options.Seed = None,
    changes: options.Changes = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="FILE_OR_DIGEST", help="A file, or of the store.", show_default="the current"),
    ] = None,
    scorer: Annotated[
        str | None, typer.Option("--scorer", metavar="FILE_OR_DIGEST", help="The scorer that selects: as --policy.")
    ] = None,
    boxes: options.Boxes = None,
    take: Annotated[
        Take | None,
        typer.Option(
            "--take",
            help="Of each person the body from zero noise, the one that the scorer prefers, or all.",
            show_default="selected with a scorer, else zero",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="Of a detector's boxes: least_score=0.5, person_class=0."),
    ] = None,
    overlays: Annotated[bool, typer.Option("--overlays/--no-overlays", help="Draw bodies over photographs.")] = True,
    meshes: Annotated[bool, typer.Option("--meshes", help="Write the bodies as glTF, too (.glb).")] = False,
    body: Annotated[
        str | None,
        typer.Option("--body", metavar="DIR", help="Body files that pose the bodies.", show_default="profile's"),
    ] = None,
) -> None:
    """Write the bodies of the people in photographs: Parquet, HumanData, overlays, meshes. Nothing is promoted."""
    choices = options.choices(file, profile, campaign, seed, changes)
    chosen = options.pairs_of(option, "--option", "give an option and a value, such as --option least_score=0.3")
    quiet_start()
    from flows.run.prediction import prediction

    taken = take.value if take else None
    prediction(images, out, scorer, boxes, taken, chosen, meshes)
    opened, _ = options.early_checks(store, choices, of_campaign=False)
    server_is_ready = begin_server()
    from flows.predict import predict as predict_flow

    server_is_ready()
    written = predict_flow(
        images,
        out,
        store,
        **vars(choices),
        policy=policy,
        scorer=scorer,
        boxes=boxes,
        take=taken,
        options=chosen,
        overlays=overlays,
        meshes=meshes,
        body=body,
    )
    from flows.cli.show.predicted import print_prediction
    from infra.views import write_views_sql

    write_views_sql(opened)
    print_prediction(written)
