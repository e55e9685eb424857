"""A Prefect server with its pages and all of its services: what `prefect server start` runs, behind a guard.

    python -m flows.serve.server --port 4200 [--listen 0.0.0.0 --host prefect:4200]

It refuses to start without a log-in (PREFECT_SERVER_API_AUTH_STRING=name:password). Its other settings are Prefect's.
"""

import os
from typing import Annotated

import typer

from flows.process.errors import clear_errors
from flows.serve.guard import Guard, origins_of, own_hosts
from flows.serve.place import LOGIN_VARIABLE
from infra.services import LOOPBACK
from schemas.errors import ConfigError

_ORIGINS_VARIABLE = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
_ANYBODY = "*"


def serve(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where to listen.")],
    listen: Annotated[str, typer.Option("--listen", help="The address to listen on.")] = LOOPBACK,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host", metavar="HOST:PORT", help="Another name than 127.0.0.1 that clients know this server by."
        ),
    ] = None,
) -> None:
    """Serve until a signal ends the process."""
    with clear_errors():
        if ":" not in os.environ.get(LOGIN_VARIABLE, ""):
            raise ConfigError(f"{LOGIN_VARIABLE} has to be name:password: without it all could have work run here.")
        hosts = (*own_hosts(port), *(host or ()))
        os.environ.setdefault(_ORIGINS_VARIABLE, ",".join(origins_of(hosts)))
        _run(listen, port, hosts)


def _run(listen: str, port: int, hosts: tuple[str, ...]) -> None:
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    pages = [origin.strip() for origin in settings.api.cors_allowed_origins.split(",")]
    uvicorn.run(
        Guard(create_app(final=True), hosts, [page for page in pages if page != _ANYBODY]),
        host=listen,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    typer.run(serve)
