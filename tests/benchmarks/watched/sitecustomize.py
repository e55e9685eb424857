"""Notes when shards and trainings are worked on, in every process that has this folder on its path.

Python loads a module of this name by itself. With ADHMR_WATCHED=FOLDER each process writes a file there, a line for
each shard and each run of training steps: begin, end (seconds since the epoch) and what it was.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

FOLDER = os.environ.get("ADHMR_WATCHED", "")
WORK = {"tasks.engine.shard_work": ("ShardWork", "do"), "tasks.engine.loop": ("Training", "run")}


class Watcher(MetaPathFinder):
    """Finds the modules of WORK as they are found without it, and wraps their work once they are loaded."""

    def __init__(self) -> None:
        self.looking = False

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's own spec, whose loader wraps what it has loaded; None for all other modules."""
        if self.looking or fullname not in WORK:
            return None
        self.looking = True
        try:
            spec = find_spec(fullname)
        finally:
            self.looking = False
        if spec is not None and spec.loader is not None:
            _wrap_loader(spec.loader, *WORK[fullname])
        return spec


def _wrap_loader(loader: Loader, owner: str, method: str) -> None:
    load = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        of = getattr(module, owner)
        setattr(of, method, _noted(getattr(of, method), owner))

    loader.exec_module = exec_module  # type: ignore[method-assign]


def _noted(work: Callable[..., Any], what: str) -> Callable[..., Any]:
    @wraps(work)
    def noted(*given: Any, **named: Any) -> Any:
        began = time.time()
        try:
            return work(*given, **named)
        finally:
            with open(os.path.join(FOLDER, f"{os.getpid()}.txt"), "a", encoding="utf-8") as file:
                file.write(f"{began:.4f} {time.time():.4f} {what}\n")

    return noted


if FOLDER:
    sys.meta_path.insert(0, Watcher())
