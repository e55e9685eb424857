"""The commands that look into a store: query (SQL over the tables) and browse (a web application)."""

from typing import Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start
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


def browse(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On 127.0.0.1.", show_default="8420")] = 0,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser of this desktop.")] = False,
    memory: Annotated[
        int | None, typer.Option("--memory", min=64, metavar="MB", help="For lists.", show_default="128")
    ] = None,
    store: options.StoreUrl = None,
    file: options.ConfigFile = None,
    profile: options.Profile = None,
    changes: options.Changes = None,
) -> None:
    """Look at rounds, people and pairs in a web browser, and judge pairs; nothing else in the store is changed."""
    quiet_start()
    opened = options.open_store(store)
    config = options.choices(file, profile, None, None, changes).configured().config
    from flows.browse.serving import serve
    from infra.listing import MEMORY_MB

    def say(link: str) -> None:
        typer.echo(f"Open this link in a browser; who has it sees the store. Ctrl-C ends it.\n\n  {link}\n")

    serve(opened, port, config.body, config.root_solver, say, open_page=open_page, memory_mb=memory or MEMORY_MB)
