"""The command browse: a web application over a store."""

from typing import Annotated

import typer

from flows.cli import options
from flows.process.quiet import quiet_start


def browse(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On 127.0.0.1.", show_default="8420")] = 0,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser of this desktop.")] = False,
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

    def say(link: str) -> None:
        typer.echo(f"Open this link in a browser; who has it sees the store. Ctrl-C ends it.\n\n  {link}\n")

    serve(opened, port, config.body, config.root_solver, say, open_page=open_page)
