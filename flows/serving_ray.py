"""The Ray of `make serve`: one node that listens on the loopback alone, for whoever has its token."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

from flows.served import RAY
from infra.services import LOOPBACK, ServiceError, Services

_OBJECT_STORE_BYTES = 512 * 1024**2


def start_ray(services: Services, environment: Mapping[str, str], port: int) -> None:
    """Start it with a token of its own where it authenticates by token. Raises ServiceError if none can be had."""
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
    if environment["RAY_AUTH_MODE"] == "token":
        made = subprocess.run(
            [*ray, "get-auth-token", "--generate"], env=environment, capture_output=True, check=False, umask=0o077
        )
        if made.returncode:
            raise ServiceError("Ray has no authentication token and can't make one: see `ray get-auth-token --help`.")
        if not environment.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
            keep_to_oneself(Path.home() / ".ray" / "auth_token")
    folder = ray_folder(services)
    rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    options = {
        "port": port,
        "node-ip-address": LOOPBACK,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "include-dashboard": "false",
        "object-store-memory": _OBJECT_STORE_BYTES,
        "temp-dir": folder,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [*ray, "start", "--head", "--block", "--disable-usage-stats", *words]
    # Ray's switch for desktop systems, without which it listens on more than the loopback
    services.start(RAY, command, {**environment, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}, port)


def keep_to_oneself(token: Path) -> None:
    """Take rights to a file from everybody else: another session of Ray may have written it with the usual ones."""
    if token.is_file() and token.stat().st_mode & 0o077:
        try:
            token.chmod(0o600)
        except OSError as error:
            raise ServiceError(f"{token}, Ray's token, can be read by others ({error}): chmod 600 it.") from error


def ray_folder(services: Services) -> Path:
    """Where Ray keeps its sockets, whose paths must be short; so it can't be the folder of the services."""
    name = sha256(str(services.folder.resolve()).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"adhmr-ray-{os.getuid()}-{name}"
