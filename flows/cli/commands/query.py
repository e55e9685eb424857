"""The command query: SQL over the tables."""

from typing import Annotated

import typer

from flows.cli import options


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT in DuckDB's SQL; docs/queries.md has examples.")],
    store: options.StoreUrl = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values instead of a table.")] = False,
) -> None:
    """Ask the tables: adhmr query "SELECT * FROM rounds"."""
    opened = options.open_store(store)
    from flows.cli.show.rows import print_rows
    from infra.views import query as ask
    from infra.views import refresh_views_sql

    print_rows(ask(opened, sql), as_csv)
    problem = refresh_views_sql(opened)
    if problem:
        typer.echo(f"note: {problem}", err=True)
