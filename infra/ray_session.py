"""A Ray session: a local one, or the cluster that RAY_ADDRESS names. The code that runs on it is the same.

A local session listens on the loopback only, has no dashboard and is gone when the block is left, also if this process
is killed (Ray binds the life of its processes to ours). Workers import our packages from wherever we did.
"""

import importlib.util
import logging
import os
import site
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray._private import auto_init_hook, ray_constants

from schemas.digests import PACKAGES
from schemas.errors import ConfigError

_OBJECT_STORE_BYTES = 256 * 1024**2
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no report to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",  # else Ray looks every 2 s whether a training is over
}

# Else whoever calls Ray without a session starts one: a thread of Ray Data that outlives ours by a moment did, in the
# middle of the start of our next, and both hung.
auto_init_hook.enable_auto_connect = False


@contextmanager
def ray_session(
    *, cpus: int | None = None, gpus: int | None = None, threads: int = 1, object_store_bytes: int = _OBJECT_STORE_BYTES
) -> Iterator[dict[str, float]]:
    """Ray for the length of the block; gives the cluster's resources ({"CPU": 2.0, ...}).

    `cpus` and `gpus` limit a local session (default: what the machine has). `threads` is what each worker's numeric
    libraries may use; fixed, because results depend on it in the last bits. Inside another session, that one is used.
    Raises ConfigError if the cluster that RAY_ADDRESS names can't be reached.
    """
    if ray.is_initialized():
        yield dict(ray.cluster_resources())
        return
    address = os.environ.get("RAY_ADDRESS")
    settings = {name: os.environ.get(name, value) for name, value in _SETTINGS.items()}
    with _environment({**settings, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}):
        try:
            if address:
                _join(address, threads)
            else:
                _start(cpus, gpus, object_store_bytes)
            _quieten()
            yield dict(ray.cluster_resources())
        finally:
            ray.shutdown()


def room_for(needed: dict[str, float]) -> int:
    """How many times the session can give what is `needed` ({"CPU": 1.5}) at once."""
    present = ray.cluster_resources()
    return min(int((present.get(name, 0.0) + 1e-9) / amount) for name, amount in needed.items() if amount)


def check_resources(needed: dict[str, float]) -> None:
    """ConfigError if the session can never give what is `needed` ({"CPU": 1.5}); Ray itself would wait for ever."""
    present = ray.cluster_resources()
    short = {name: amount for name, amount in needed.items() if amount > present.get(name, 0.0) + 1e-9}
    if short:
        wanted = ", ".join(
            f"{amount:g} {name} (there are {present.get(name, 0.0):g})" for name, amount in short.items()
        )
        raise ConfigError(f"Ray has too little for this stage: it needs {wanted}. Lower actors or cpus_per_actor.")


def _start(cpus: int | None, gpus: int | None, object_store_bytes: int) -> None:
    paths = [str(_checkout()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    variables = {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process per training that waits for clouds to take nodes away
    }
    with _environment(variables), _loopback_only():
        ray.init(
            address="local",
            num_cpus=cpus,
            num_gpus=gpus,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            object_store_memory=object_store_bytes,
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
    variables = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    runtime: dict[str, object] = {"env_vars": variables}
    if not _installed():
        runtime["py_modules"] = [str(_checkout() / package) for package in PACKAGES]
    try:
        ray.init(address=address, runtime_env=runtime, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"No Ray cluster answers at RAY_ADDRESS={address}: {error}") from error


def _quieten() -> None:
    """No bars and no chatter of Ray Data: the stages report progress themselves."""
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


def _installed() -> bool:
    """Whether our packages stand in site-packages, so that a cluster built from the same image has them as well."""
    return any(
        _checkout() == Path(folder).resolve() for folder in [*site.getsitepackages(), site.getusersitepackages()]
    )


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
