"""Brings up and takes down what `make serve` has running: Ray, a Prefect server, a worker; registers deployments."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from flows.process.errors import without_passwords
from flows.process.quiet import SETTINGS
from flows.serve.place import API_VARIABLE, DEFAULT_PORT, POOL, PREFECT, RAY, WORKER, login, start_command, stop_command
from flows.serve.prefect_service import (
    is_well,
    keep_login,
    lets_strangers_in,
    login_variables,
    start_prefect,
    tell_crashed,
    worker_is_online,
)
from flows.serve.ray_service import ray_folder, ray_token_variables, start_ray
from infra.services import (
    LOOPBACK,
    OWN_RAY,
    Service,
    ServiceError,
    Services,
    answers,
    free_port,
    last_words,
    past_proxies,
)
from infra.store import DEFAULT_URL
from infra.store import VARIABLE as STORE_VARIABLE
from schemas.errors import ConfigError

_START_SECONDS, _END_SECONDS, _POLL_SECONDS = 120.0, 15.0, 0.3
RUNS = 4
"""Flow runs that the worker takes at a time. One would not do: it would leave a round that is due while another one
works to be begun late, where its deployment wants it cancelled."""


@dataclass(frozen=True)
class Serving:
    """What runs: the address of Ray, the URL of the store, and the names of what had to be started.

    `new_login` is name:password of the Prefect server where that was made just now; else empty.
    """

    ray: str
    store: str
    started: tuple[str, ...]
    new_login: str = ""


def used_by(worker: Service) -> tuple[str, str]:
    """The address of Ray and the URL of the store that a worker began with, and so has for all of its runs."""
    ray, _, store = worker.note.partition(" ")
    return ray, store


def bring_up(services: Services, port: int = 0, ray: str = "", runs: int = RUNS) -> Serving:
    """Start what doesn't run yet and register the deployments of the working directory's prefect.yaml.

    `port` is the Prefect server's; 0 for the one that it had, or the usual one. `ray` is the address of a cluster that
    is there; empty for one of our own.
    Raises ServiceError, with the end of a log, for what doesn't come up; what was started with it is ended again then.
    """
    if not Path("prefect.yaml").is_file():
        raise ConfigError(
            "There is no prefect.yaml here: run this in a clone, or in a folder that `adhmr init` has laid."
        )
    before = services.alive()
    try:
        return _bring_up(services, before, port, ray, runs)
    except BaseException:
        if not before:
            take_down(services)
        raise


def take_down(services: Services) -> tuple[str, ...]:
    """End the folder's services and all that they started; the names of those that ran. Nothing to end is no error.

    Runs that were at work are reported to the Prefect server as crashed, so that nothing waits for them.
    """
    alive = services.alive()
    for name in (WORKER, PREFECT, RAY):
        services.end(name, _END_SECONDS)
        if name == WORKER and PREFECT in alive:
            services.end_strays()
            tell_crashed(alive[PREFECT].port, login_variables(services))
    services.end_strays()
    services.forget()
    rmtree(ray_folder(services), ignore_errors=True)
    return tuple(name for name in (PREFECT, RAY, WORKER) if name in alive)


def _bring_up(services: Services, before: Mapping[str, Service], port: int, cluster: str, runs: int) -> Serving:
    port = _port_of_prefect(services, before, port)
    ray, own = _ray_address(services, before, cluster)
    store = _store(before)
    if before and login(services) is None:
        raise ConfigError(_open_to_everyone())
    new_login = keep_login(services)
    environment = _environment(services, port, ray, own, store)
    if own and RAY not in before:
        services.end_strays()  # what is left of a Ray that died holds its port, and runs that were on it can't go on
        start_ray(services, environment, int(ray.rpartition(":")[2]))
    if PREFECT not in before:
        start_prefect(services, environment, port)
    _until(services, PREFECT, lambda: is_well(port))
    if lets_strangers_in(port):
        raise ServiceError(_open_to_everyone())
    if own:
        _until(services, RAY, lambda: answers(int(ray.rpartition(":")[2])))
    if WORKER not in before:
        if not services.strays():
            tell_crashed(port, environment)  # what a worker that is gone had begun
        command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", f"{POOL}-worker"]
        limit = ["--limit", str(runs)]
        services.start(WORKER, [sys.executable, "-m", *command, *limit], environment, note=f"{ray} {store}")
    _until(services, WORKER, lambda: worker_is_online(port, environment))
    _register(services, environment)
    alive = services.alive()
    return Serving(ray, store, tuple(name for name in alive if name not in before), new_login)


def _open_to_everyone() -> str:
    return (
        "What runs here lets everyone in: an earlier version started it, or others could read its log-in. "
        f"`{stop_command()}`, then `{start_command()}`. Rounds that are at work end with it; the next run goes on "
        "where they were."
    )


def _port_of_prefect(services: Services, before: Mapping[str, Service], wanted: int) -> int:
    if PREFECT in before:
        port = before[PREFECT].port
        if wanted not in (0, port):
            raise ConfigError(
                f"The Prefect server runs on port {port}: `{stop_command()}` first to have it on {wanted}."
            )
        return port
    try:
        return free_port(wanted or services.last_port(PREFECT) or DEFAULT_PORT)
    except ServiceError as error:
        raise ServiceError(f"{error} For the Prefect server: {start_command('--port 4201')}") from error


def _ray_address(services: Services, before: Mapping[str, Service], cluster: str) -> tuple[str, bool]:
    """The address of Ray, and whether it is ours. A worker that runs keeps the one that it began with."""
    running = f"{LOOPBACK}:{before[RAY].port}" if RAY in before else ""
    own = cluster in ("", running)
    if own:
        address = running or f"{LOOPBACK}:{free_port(services.last_port(RAY))}"
    else:
        address = cluster
        host, _, port = address.rpartition(":")
        if not port.isdigit() or not answers(int(port), host):
            raise ConfigError(
                f"No Ray cluster answers at {address}, which RAY_ADDRESS or --ray names. Without it, one is started."
            )
    if WORKER in before and (used := used_by(before[WORKER])[0]) != address:
        raise ConfigError(f"The worker that runs uses Ray at {used}: `{stop_command()}` first.")
    return address, own


def _store(before: Mapping[str, Service]) -> str:
    """The URL of the store, a folder's whole path. A worker that runs keeps the one that it began with."""
    url = os.environ.get(STORE_VARIABLE) or DEFAULT_URL
    store = url if "://" in url else str(Path(url).expanduser().absolute())
    if without_passwords(store) != store:
        raise ConfigError(f"{STORE_VARIABLE} can't hold a name and a password: see AWS_ACCESS_KEY_ID.")
    if WORKER in before and (used := used_by(before[WORKER])[1]) != store:
        raise ConfigError(
            f"The worker that runs uses the store {used}: `{stop_command()}` first to have it use {store}, or set "
            f"{STORE_VARIABLE} to what it uses."
        )
    return store


def _environment(services: Services, port: int, ray: str, own: bool, store: str) -> dict[str, str]:
    """The environment of all services, and so of every run: that of this command, and where to find each other."""
    here = dict(os.environ)
    quiet = {setting.name: setting.value for setting in SETTINGS if "CONSOLE_LEVEL" not in setting.name}
    defaults = {
        **quiet,
        "PREFECT_HOME": str(services.folder / "prefect"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # in memory, the default, a restart of the server forgets who holds a deployment's only slot, and it stays taken
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
    }
    if own:  # another one authenticates as it was started
        defaults |= ray_token_variables(services)
    places = {API_VARIABLE: f"http://{LOOPBACK}:{port}/api", "RAY_ADDRESS": ray, STORE_VARIABLE: store}
    places[OWN_RAY] = ray if own else ""
    return {**defaults, **here, **past_proxies(here), **login_variables(services), **places}


def _until(services: Services, name: str, ready: Callable[[], bool]) -> None:
    """Wait until a service is ready. Raises ServiceError when it has ended, or takes too long."""
    end = time.monotonic() + _START_SECONDS
    while not ready():
        alive = services.alive()
        if name in alive and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
            continue
        log = services.folder / f"{name}.log"
        how = "is not ready after two minutes" if name in alive else "ended at once"
        raise ServiceError(f"The service {name} {how}. The end of {log}: {last_words(str(log), 4)}")


def _register(services: Services, environment: Mapping[str, str]) -> None:
    """`prefect deploy --all`, without its questions."""
    log = services.folder / "deploy.log"
    with open(log, "wb") as output:
        deployed = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if deployed.returncode:
        raise ServiceError(f"`prefect deploy --all` failed. The end of {log}: {last_words(str(log), 6)}")
