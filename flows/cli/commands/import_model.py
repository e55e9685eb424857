"""The command import: a model from a file or folder into the store."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start


def import_file(
    checkpoint: Annotated[
        Path, typer.Argument(help="A published checkpoint, one of another store, or a folder of a hub.")
    ],
    store: options.StoreUrl = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Published files: the weights that training goes on from, not the averages.")
    ] = False,
) -> None:
    """Take a policy or a scorer from a file or folder into the store; `adhmr doctor --checkpoint` says what it is."""
    quiet_start()
    from infra.store import Store
    from schemas.profiles import paper
    from tasks.engine.context import Context
    from tasks.stages.import_model import import_model

    digest = import_model(Context(Store.open(store), paper()), checkpoint, "raw" if raw else None)
    typer.echo(f"{checkpoint} is model {digest[:12]} of this store.")
