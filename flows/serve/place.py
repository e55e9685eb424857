"""Where to find what `make serve` has running. Quick to import: every process that uses Prefect here does."""

import os
from pathlib import Path

from infra.private import read_secret
from infra.services import LOOPBACK, Services

FOLDER_VARIABLE, DEFAULT_FOLDER = "ADHMR_SERVE", "./adhmr-serve"
PREFECT, RAY, WORKER = "prefect", "ray", "worker"
POOL = "adhmr"
DEFAULT_PORT = 4200
API_VARIABLE = "PREFECT_API_URL"
LOGIN_VARIABLE, CLIENT_LOGIN_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
"""name:password of a Prefect server, in the environment of the server and of its clients."""


def services_here() -> Services:
    """The services of the folder that the environment names, or of the default one."""
    return Services(Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER))


def start_command(options: str = "") -> str:
    """What a person types here to start the services: a clone has a Makefile, a folder of `adhmr init` has none."""
    if _has_makefile():
        return f'make serve ARGS="{options}"' if options else "make serve"
    return f"python -m flows.serve.commands start {options}".rstrip()


def stop_command() -> str:
    """What a person types here to end them."""
    return "make stop" if _has_makefile() else "python -m flows.serve.commands stop"


def _has_makefile() -> bool:
    return Path("Makefile").is_file()


def login_file(services: Services) -> Path:
    """The file with name:password of the folder's Prefect server. Its owner alone can read it."""
    return services.folder / "prefect-login"


def login(services: Services) -> str | None:
    """name:password of the folder's Prefect server; None where it has none yet."""
    return read_secret(login_file(services))


def page_url(services: Services) -> str | None:
    """The pages of the folder's Prefect server, if that lives; its API is below them, at /api."""
    server = services.alive().get(PREFECT)
    return f"http://{LOOPBACK}:{server.port}" if server else None
