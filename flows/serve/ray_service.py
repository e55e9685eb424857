"""The Ray of `make serve`: one node that listens on the loopback alone, for clients with its token."""

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

from flows.serve.place import RAY, start_command, stop_command
from infra.private import read_secret, secret_of
from infra.services import LOOPBACK, ServiceError, Services

_OBJECT_STORE_BYTES = 512 * 1024**2
_MODE, _TOKEN, _TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_TOKEN_BYTES = 32


def ray_token_variables(services: Services) -> dict[str, str]:
    """How the folder's Ray and its drivers find the token: where the environment says, else in the folder.

    A file that isn't there, or that others could read, gets a new token. Raises ServiceError, as where a Ray that runs
    would not take the new one.
    """
    if os.environ.get(_MODE, "token") != "token" or _TOKEN in os.environ:
        return {_MODE: "token"}
    file = Path(os.environ.get(_TOKEN_FILE) or services.folder / "ray-token").absolute()
    if RAY in services.alive() and read_secret(file) is None:
        raise ServiceError(
            f"Others could read {file}, the token of the Ray that runs: `{stop_command()}`, then `{start_command()}`."
        )
    try:
        secret_of(file, lambda: secrets.token_hex(_TOKEN_BYTES))
    except OSError as error:
        raise ServiceError(f"{file} can't hold Ray's token, for its owner alone: {error}.") from error
    return {_MODE: "token", _TOKEN_FILE: str(file)}


def start_ray(services: Services, environment: Mapping[str, str], port: int) -> None:
    """Start it. Raises ServiceError if its folder can't be had."""
    folder = ray_folder(services)
    rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ServiceError(f"Ray's folder {folder} can't be made: {error}.") from error
    options = {
        "port": port,
        "node-ip-address": LOOPBACK,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "include-dashboard": "false",
        "object-store-memory": _OBJECT_STORE_BYTES,
        "temp-dir": folder / "r",  # Ray lets everybody into this one and all below it, so it lies in one that is ours
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
    command = [*ray, "start", "--head", "--block", "--disable-usage-stats", *words]
    # Ray's switch for desktop systems, without which it listens on more than the loopback
    services.start(RAY, command, {**environment, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}, port)


def ray_folder(services: Services) -> Path:
    """Where Ray keeps its sockets, whose paths must be short; so it can't be the folder of the services."""
    name = sha256(str(services.folder.resolve()).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"adhmr-ray-{os.getuid()}-{name}"
