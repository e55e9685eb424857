"""The command study: several ways to align one policy, side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli import options
from flows.process import surroundings
from flows.process.quiet import quiet_start
from flows.serve.temporary_server import begin_server


def _presets(incomplete: str) -> list[str]:
    from schemas.studies import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]


def study(
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            metavar="NAME_OR_FILE",
            help="objectives, strategies or strength; or a file (YAML).",
            autocompletion=_presets,
        ),
    ] = "objectives",
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="N,N", help="Seeds.", show_default="the study's")
    ] = None,
    changes: options.Changes = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Page and figures.", show_default="below the store")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would do and take; start nothing.")] = False,
    as_json: options.Json = False,
) -> None:
    """Align one base policy in several ways, for several seeds, and say which is best on validation."""
    quiet_start()
    from flows.cli.show.study import print_study, print_study_plan
    from flows.cli.study import plan_study
    from flows.run.early import check_cells
    from flows.run.studies.asked import asked_for, cells_of
    from infra.store import Store
    from tasks.engine.context import Context

    said = options.changed_fields(changes)
    asked, configs, notices = asked_for(preset, seeds, profile, said, file)
    surroundings.refuse()
    opened = Store.at(store) if plan else Store.open(store)
    context = Context(opened, configs[asked.seeds[0]])
    check_cells(context, cells_of(asked, configs))
    print_study_plan(plan_study(context, asked, configs, notices))
    if plan:
        return
    server_is_ready = begin_server()
    from flows.study import study as study_flow
    from infra.views import write_views_sql
    from schemas.ids import StageKey
    from tasks.study.found import read_study

    server_is_ready()
    key = study_flow(preset, store, profile, seeds, out, said, file)
    write_views_sql(opened)
    print_study(opened, read_study(opened, StageKey(key), asked), out, as_json)
