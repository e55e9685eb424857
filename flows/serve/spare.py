"""A process that waits for one run of a deployment, with all that a round needs loaded, and Ray joined.

    python -m flows.serve.spare     (the worker's line; an Order on standard input, a line of JSON, says what to run)

What a run is begun with stays what Prefect makes of it: its supervisor prepares the workspace here as it would in a
process of its own, and its engine runs the flow here in place of taking this process over. Where anything is not as it
was when this process began (code, libraries, environment, folder, Ray), the supervisor does take it over: then the run
loads what it needs itself, as runs of other workers do. After one run the process ends: none finds what another left.
"""

import os
import runpy
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import yaml

from flows.serve.handover import READY, SUPERVISOR, Order
from schemas.config.engine import RayConfig
from schemas.digests import code_digest
from schemas.errors import EngineError
from tasks.ahead import OF_DRIVER, load, load_in_ray

_ENGINE: Final = ("-m", "prefect.engine")
_OF_RUN: Final = "PREFECT__"
"""With this begin the names of what Prefect tells a process of its run."""
_PATH: Final = "PYTHONPATH"


@dataclass(frozen=True)
class State:
    """What a process has loaded its modules from, and under which environment."""

    environment: Mapping[str, str]
    code: str
    libraries: tuple[int, ...]
    """When each folder of libraries last had one added or removed, in nanoseconds."""

    @staticmethod
    def now(environment: Mapping[str, str]) -> "State":
        libraries = [Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        changed = tuple(path.stat().st_mtime_ns for path in libraries if path.is_dir())
        # as a rule the digest is kept, since a process's own code doesn't change
        return State(_lasting(environment), code_digest.__wrapped__(), changed)


def _lasting(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment is not of one run."""
    return {name: text for name, text in environment.items() if not _is_of_run(name)}


def _is_of_run(name: str) -> bool:
    return name.startswith(_OF_RUN) or name == _PATH  # Prefect puts the folder of the run on the path


def main() -> None:
    """Load, wait, run, end."""
    began, before = time.monotonic(), State.now(os.environ)
    orders: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=[orders], name="orders", daemon=True).start()
    _load()
    stamps = stamps_of_sources()
    _join_ray()
    print(f"{READY} ({time.monotonic() - began:.1f} s)", flush=True)
    order = Order.of_line(orders.get())
    from infra.ray_session import has_lost_ahead

    if State.now(order.environment) != before or changed(stamps) or has_lost_ahead():
        order.take_over()
    _run(order)


def _listen(orders: SimpleQueue[bytes]) -> None:
    """Hear one order. Who gives none has ended, and with it ends this process, whatever it loads at the moment."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        os._exit(0)
    orders.put(line)


def modules_of(deployments: Path) -> Iterator[str]:
    """The modules of the flows that a prefect.yaml names, each once; of flows that are named by a file's path none."""
    with suppress(OSError, yaml.YAMLError, AttributeError, TypeError):
        named = yaml.safe_load(deployments.read_text(encoding="utf-8")).get("deployments") or []
        entrypoints = [str(one.get("entrypoint", "")) for one in named]
        yield from dict.fromkeys(entry.rpartition(".")[0] for entry in entrypoints if ":" not in entry and "." in entry)


def stamps_of_sources() -> dict[str, tuple[int, int]]:
    """Size and time of change of what was loaded from elsewhere than Python's own folders, by path."""
    files = [str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())]
    own = (sys.prefix, sys.base_prefix)
    return {path: _stamp(path) for path in files if path and not path.startswith(own)}


def changed(stamps: Mapping[str, tuple[int, int]]) -> bool:
    """Whether one of these files is not what it was."""
    return any(_stamp(path) != stamp for path, stamp in stamps.items())


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _load() -> None:
    load(["prefect.engine", "prefect.flow_engine", "prefect.runner._workspace_supervisor"])
    for name in modules_of(Path("prefect.yaml")):
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001 - a user's flow may raise anything, and its own runs tell more of it
            print(f"{name} can't be loaded: {error}", flush=True)
    load(OF_DRIVER)


def _join_ray() -> None:
    """Join Ray, if it runs on this machine, and have its processes load what they need."""
    from infra.ray_session import join_ahead  # Ray changes the environment where it is imported

    settings = RayConfig()
    try:
        if join_ahead(settings.threads_per_actor):
            load_in_ray(settings)
    except EngineError as error:
        print(f"Ray was not joined: {error}", flush=True)


def _run(order: Order) -> None:
    here = Path.cwd()
    _take_on(order.environment)
    os.chdir(order.folder)
    expected = Order([sys.executable, *_ENGINE], str(here), _lasting(os.environ))
    launched = _supervised(order.command[1 + len(SUPERVISOR) :])
    _take_on(launched.environment)
    if expected != Order(launched.command, launched.folder, _lasting(launched.environment)):
        order.take_over()
    os.chdir(launched.folder)
    sys.argv[:] = _ENGINE[1:]
    sys.modules.pop(_ENGINE[1], None)  # it is loaded once more, as a program
    runpy.run_module(_ENGINE[1], run_name="__main__")


def _take_on(environment: Mapping[str, str]) -> None:
    """What Prefect says of the run. All else is as it was, but for what Ray's session has set here."""
    os.environ.update({name: text for name, text in environment.items() if _is_of_run(name)})


def _supervised(arguments: list[str]) -> Order:
    """What Prefect's supervisor would become, once it has prepared the run's workspace. SystemExit where it can't."""
    from prefect.runner import _workspace_supervisor as supervisor

    launched: list[Order] = []

    async def launch(command: list[str], *, cwd: Path, environment: dict[str, str]) -> int:
        launched.append(Order(command, str(cwd), environment))
        return 0

    supervisor._launch_engine = launch
    code = supervisor.main(arguments)
    if not launched:
        raise SystemExit(code)
    return launched[0]


if __name__ == "__main__":
    main()
