"""make serve, make stop: a Prefect server, a worker and Ray on this machine, and the deployments of prefect.yaml.

    python -m flows.serve.commands start | status | stop

All of it listens on the loopback alone, lets no one in without the log-in (Prefect) or the token (Ray) that are kept in
its folder, and goes on until it is stopped. `start` may be said again: what runs stays, what has died is started anew,
and the deployments are registered again.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.process.errors import clear_errors
from flows.serve.place import (
    DEFAULT_FOLDER,
    DEFAULT_PORT,
    FOLDER_VARIABLE,
    PREFECT,
    RAY,
    WORKER,
    login_file,
    page_url,
    stop_command,
)
from flows.serve.services import RUNS, bring_up, take_down, used_by
from infra.services import LOOPBACK, Services

FolderOption = Annotated[
    Path, typer.Option("--folder", envvar=FOLDER_VARIABLE, help="Where logs, the server's database and process ids go.")
]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def start(
    folder: FolderOption = Path(DEFAULT_FOLDER),
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of the Prefect server.", show_default=str(DEFAULT_PORT))
    ] = 0,
    ray: Annotated[
        str, typer.Option("--ray", envvar="RAY_ADDRESS", help="A Ray cluster to use, HOST:PORT, in place of one here.")
    ] = "",
    runs: Annotated[
        int, typer.Option("--runs", min=2, help="Flow runs at a time; those of one campaign wait for each other.")
    ] = RUNS,
) -> None:
    """Start what doesn't run yet, register the deployments, and say where everything is."""
    with clear_errors():
        services = Services(folder.expanduser().absolute())
        with services.alone():
            serving = bring_up(services, port, ray, runs)
        started = f"started: {', '.join(serving.started)}" if serving.started else "it runs already"
        typer.echo(f"adhmr-engine serves ({started}; deployments registered)")
        _tell(services, serving.ray, serving.store, serving.new_login)


@app.command()
def status(folder: FolderOption = Path(DEFAULT_FOLDER)) -> None:
    """Say what runs; exit code 1 if it isn't all."""
    services = Services(folder.expanduser().absolute())
    alive = services.alive()
    for name in (PREFECT, RAY, WORKER):
        typer.echo(f"{name:8} {f'process {alive[name].pid}' if name in alive else 'does not run here'}")
    if not {PREFECT, WORKER} <= alive.keys():
        raise typer.Exit(1)
    ray, store = used_by(alive[WORKER])
    if ray == f"{LOOPBACK}:{services.last_port(RAY)}" and RAY not in alive:
        raise typer.Exit(1)
    _tell(services, ray, store)


@app.command()
def stop(folder: FolderOption = Path(DEFAULT_FOLDER)) -> None:
    """End all of it, runs included: the next run of a round goes on where it was."""
    with clear_errors():
        services = Services(folder.expanduser().absolute())
        if not services.folder.is_dir():
            typer.echo(f"Nothing runs from {services.folder}.")
            return
        with services.alone():
            ended = take_down(services)
        typer.echo(f"Ended: {', '.join(ended)}." if ended else f"Nothing ran from {services.folder}.")


def _tell(services: Services, ray: str, store: str, new_login: str = "") -> None:
    page = page_url(services)
    typer.echo(f"  Prefect   {page}   (runs, reports, schedules; API {page}/api)")
    kept = login_file(services)
    typer.echo(f"  log-in    {new_login}   (for the pages; kept in {kept})" if new_login else f"  log-in    in {kept}")
    typer.echo(f"  Ray       {ray}")
    typer.echo(f"  store     {store}")
    typer.echo(f"  logs      {services.folder}")
    typer.echo(f"A round now: prefect deployment run dpo-round   End all of it: {stop_command()}")


if __name__ == "__main__":
    app()
