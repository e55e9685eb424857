"""The command query: SQL over the tables."""

from typing import Annotated

import typer

from flows.cli import options
from schemas.errors import ConfigError


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT in DuckDB's SQL; docs/queries.md has examples.")],
    store: options.StoreUrl = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values instead of a table.")] = False,
    as_json: options.Json = False,
) -> None:
    """Ask the tables: adhmr query "SELECT * FROM rounds"."""
    if as_csv and as_json:
        raise ConfigError("--csv and --json are two forms of one answer: take one of them.")
    opened = options.open_store(store)
    from flows.cli.documents import print_document, query_document
    from flows.cli.show.rows import print_rows
    from infra.views import query as ask
    from infra.views import refresh_views_sql

    rows = ask(opened, sql)
    if as_json:
        print_document("query", query_document(rows))
    else:
        print_rows(rows, as_csv)
    problem = refresh_views_sql(opened)
    if problem:
        typer.echo(f"note: {problem}", err=True)
