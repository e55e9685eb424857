"""A Ray session: a local one, or the cluster that RAY_ADDRESS names. The code that runs on it is the same.

A local session listens on the loopback only, for clients with its token, keeps its files where no other user gets, has
no dashboard and is gone when the block is left, also if this process is killed (Ray binds the life of its processes to
ours); its workers import our packages from wherever we did, and so do those of the Ray that `make serve` has started.
To any other cluster the packages are sent, so that its workers run the code of this process whatever is installed
there. Nothing else is: credentials would be for all to see in a runtime
environment, so every node has its own.
"""

import importlib.util
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_default_system_temp_dir
from ray._private import auto_init_hook, ray_constants
from ray._private import worker as ray_worker
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # its stub lacks it

from infra.private import private_folder
from infra.ray_alone import is_alone, lean_data, lean_node
from infra.ray_watch import keep_quiet_about_the_end, own_children, signals_left_alone, start_deadline, watched
from infra.services import OWN_RAY
from schemas.digests import PACKAGES
from schemas.errors import ConfigError, EngineError

log = logging.getLogger(__name__)

_OBJECT_STORE_BYTES = 256 * 1024**2
_LEAST_BYTES = 16 * 1024**2
"""A disk with less room than this has none for the files of Ray's processes."""
_NOT_SENT = ["__pycache__", "*.pyc"]  # beside stores and environments, which lie in none of our packages
_ADDRESS = "RAY_ADDRESS"
_CONNECT_SECONDS = 5.0
_SETTLE_SECONDS, _LOOK_SECONDS = 5.0, 0.2
_TOKEN = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the token that the cluster was started with."
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no report to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",  # else Ray looks every 2 s whether a training is over
}

# Else a call of Ray without a session starts one: a thread of Ray Data that outlives ours by a moment did, in the
# middle of the start of our next, and both hung.
auto_init_hook.enable_auto_connect = False


@contextmanager
def ray_session(
    *,
    cpus: int | None = None,
    gpus: int | None = None,
    threads: int = 1,
    object_store_bytes: int = _OBJECT_STORE_BYTES,
    spill_folder: str | None = None,
    spill_disk_share: float = 0.95,
) -> Iterator[dict[str, float]]:
    """Ray for the length of the block; gives the cluster's resources ({"CPU": 2.0, ...}).

    `cpus` and `gpus` limit a local session (default: what the machine has); so do `object_store_bytes`, the folder that
    objects are spilled to when it is full (default: among Ray's temporary files), and the share of that disk that may
    be in use before Ray spills no more. A cluster's nodes were given theirs when they were started. `threads` is what
    each worker's numeric libraries may use; fixed, because results depend on it in the last bits. Inside another
    session, that one is used. Raises ConfigError if the cluster that RAY_ADDRESS names can't be joined.
    """
    if ray.is_initialized():
        yield dict(ray.cluster_resources())
        return
    address = os.environ.get(_ADDRESS)
    wanted = {**_SETTINGS, "RAY_local_fs_capacity_threshold": str(spill_disk_share)}
    settings = {name: os.environ.get(name, value) for name, value in wanted.items()}
    with _environment({**settings, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}), ExitStack() as folders:
        try:
            with signals_left_alone():
                if address and address != "local":
                    _join(address, threads)
                else:
                    files, spilled_objects = _own_folders(folders, spill_folder)
                    try:
                        _start_twice(partial(_start, cpus, gpus, object_store_bytes, files, spilled_objects))
                    except Exception:
                        folders.pop_all()  # they stay: what Ray's processes said of it is there
                        raise
                if is_alone():
                    folders.enter_context(lean_data())
            with watched(_own_processes(), ray.get_runtime_context().gcs_address, ray.shutdown):
                _quieten()
                yield dict(ray.cluster_resources())
        finally:
            ray.shutdown()
            AuthenticationTokenLoader.instance().reset_cache()  # the next session may be one of another token


def room_for(needed: Mapping[str, float]) -> int:
    """How many workers that each need this ({"CPU": 1.5}) the session's nodes can host at once, together."""
    return sum(_fits(node, needed) for node in _nodes().values())


def no_room() -> str:
    """What to do where Ray's own files, which aren't in the store, have no room; empty where they have."""
    folder = get_default_system_temp_dir()
    if shutil.disk_usage(folder).free >= _LEAST_BYTES:
        return ""
    return (
        f"The disk of {folder}, where Ray has its files, is full: make room there, or let RAY_TMPDIR name another one."
    )


def check_resources(needed: Mapping[str, float], count: int = 1) -> None:
    """ConfigError if the session can never host `count` workers that each need this; Ray itself would wait for ever."""
    room = room_for(needed)
    if room >= count:
        return
    amounts = _amounts(needed)
    if room:
        raise ConfigError(
            f"Ray has too little for this stage: it needs {count} workers with {amounts} each, and the cluster can "
            f"host {room}. Lower ray.actors or ray.trainers, or what each of them asks for, or add nodes."
        )
    nodes = "; ".join(
        f"{name} has {_amounts({kind: node.get(kind, 0.0) for kind in needed})}" for name, node in _nodes().items()
    )
    raise ConfigError(
        f"No node of Ray can ever host a worker of this stage, which needs {amounts}: {nodes or 'there is no node'}. "
        "Lower ray.cpus_per_actor, ray.gpus_per_actor, ray.cpus_per_trainer or ray.gpus_per_trainer, or add a node."
    )


def lacking(needed: Mapping[str, float], seconds: float = _SETTLE_SECONDS) -> str:
    """What others on the cluster hold of what a worker needs, in words; empty once it is free within some `seconds`.

    Ray lets work wait for it without a word. What a stage before has held is given back within a moment.
    """
    deadline = time.monotonic() + seconds
    while True:
        free, every = ray.available_resources(), ray.cluster_resources()
        short = [name for name, amount in needed.items() if free.get(name, 0.0) + 1e-9 < amount]
        if not short:
            return ""
        if time.monotonic() > deadline:
            held = ", ".join(f"{free.get(name, 0.0):g} of {every.get(name, 0.0):g} {name} free" for name in short)
            return f"{_amounts(needed)} needed, {held}"
        time.sleep(_LOOK_SECONDS)


def _nodes() -> dict[str, dict[str, float]]:
    """What each living node has in all, by address and id."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return {f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})": dict(node["Resources"]) for node in alive}


def _fits(node: Mapping[str, float], needed: Mapping[str, float]) -> int:
    return min(int((node.get(name, 0.0) + 1e-9) / amount) for name, amount in needed.items() if amount)


def _amounts(of: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in of.items())


def _own_processes() -> dict[str, list[Any]]:
    """Processes of Ray that this one has started, by kind."""
    node = ray_worker._global_node
    return node.all_processes if node is not None else {}


def _own_folders(folders: ExitStack, spill_folder: str | None) -> tuple[Path, Path | None]:
    """For Ray's files and for spilled objects. Ray lets everybody into both, so they lie in folders that are ours."""
    parent = os.environ.get("RAY_TMPDIR")
    files = folders.enter_context(private_folder("adhmr-ray", Path(parent) if parent else None))
    if spill_folder is None:
        return files / "r", None
    try:
        Path(spill_folder).mkdir(parents=True, exist_ok=True)
        return files / "r", folders.enter_context(private_folder("adhmr-spill", Path(spill_folder))) / "r"
    except OSError as error:
        raise ConfigError(f"ray.spill_folder can't be used: {error}.") from error


def _start_twice(start: Callable[[], None]) -> None:
    """Start a local Ray; once more, if that fails or doesn't end. EngineError if it doesn't start then either."""
    for last_try in (False, True):
        try:
            with start_deadline(), own_children():
                start()
            return
        except OSError:
            raise  # such as a folder that can't be written: the second time it can't, either
        except Exception as error:
            ray.shutdown()  # of what is in this process
            reason = " ".join(str(error).split())[:200].rstrip(".")
            if last_try or no_room():
                cure = no_room() or "If the machine is very busy or its memory is full, run again later."
                raise EngineError(f"Ray does not start on this machine: {reason}. {cure}") from error
            log.warning("Ray did not start (%s). Once more.", reason)


def _start(
    cpus: int | None, gpus: int | None, object_store_bytes: int, files: Path, spilled_objects: Path | None
) -> None:
    variables = {
        "PYTHONPATH": _import_path(),
        "RAY_prestart_worker_first_driver": "0",  # else the start waits for workers, for ever if one of them dies
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process per training that waits for clouds to take nodes away
        # no other program has to know it, so it needs no file, which Ray would make for all to read
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    AuthenticationTokenLoader.instance().reset_cache()
    with _environment(variables), _loopback_only(), lean_node():
        ray.init(
            address="local",
            num_cpus=cpus,
            num_gpus=gpus,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            object_store_memory=object_store_bytes,
            object_spilling_directory=spilled_objects and str(spilled_objects),
            _temp_dir=str(files),
            logging_level=logging.ERROR,
            log_to_driver=False,
            configure_logging=True,
        )


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Make Ray bind to 127.0.0.1 alone: its switch for desktop systems, for itself and for the processes it starts.

    Without it Ray takes an address that other machines reach, whatever node address it is given.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _join(address: str, threads: int) -> None:
    if "://" in address:
        raise ConfigError(
            f"{_ADDRESS} is {_bare(address)}; it must be HOST:PORT of the cluster's head (port 6379, usually), named "
            "from a machine that is a node of it: `ray start --address=HOST:PORT --num-cpus=0` makes this one such."
        )
    local = _is_loopback(address)
    _knock(address)
    variables = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    runtime: dict[str, Any]
    if os.environ.get(OWN_RAY) == address:
        runtime = {"env_vars": {**variables, "PYTHONPATH": _import_path()}}
    else:
        packages = [str(_checkout() / package) for package in PACKAGES]
        runtime = {"env_vars": variables, "py_modules": packages, "excludes": _NOT_SENT}
    try:
        with _loopback_only() if local else nullcontext():
            ray.init(address=address, runtime_env=runtime, logging_level=logging.ERROR, log_to_driver=False)
    except ray.exceptions.AuthenticationError as error:
        raise ConfigError(f"The Ray cluster at {_ADDRESS}={address} refuses our token: {_TOKEN}") from error
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ConfigError(
            f"The Ray cluster at {_ADDRESS}={address} can't be joined: {error}. If it asks for a token, {_TOKEN}"
        ) from error


def _knock(address: str) -> None:
    """ConfigError, soon, if nothing listens there; Ray would try for minutes."""
    host, sign, port = address.rpartition(":")
    if not sign:  # "auto": Ray knows by itself which cluster runs on this machine
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"No Ray cluster answers at {_ADDRESS}={address}: {error}. Start one, or unset {_ADDRESS} to have Ray run "
            "on this machine for the length of the command."
        ) from error


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def _bare(address: str) -> str:
    """An address without the name and the password that it may have."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _quieten() -> None:
    """No bars and no chatter of Ray Data: the stages report progress themselves."""
    keep_quiet_about_the_end()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    # what Ray Data logs as an error it also raises, and the stages say it in their own words
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _checkout() -> Path:
    """The folder that our packages were imported from."""
    spec = importlib.util.find_spec("infra")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent.parent


def _import_path() -> str:
    """PYTHONPATH of workers that see the files of this machine."""
    paths = [str(_checkout()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.pathsep.join(dict.fromkeys(paths))


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for the length of the block; workers inherit them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
