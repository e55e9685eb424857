"""Clones of a store as a loss of power may leave it, made from what a piece of work wrote and what of it was synced.

A `Recorder` watches a process work. A file counts as lasting once it was synced, its name once its folder was synced
after it; what Delta writes in Rust is seen by comparing folders, and lasts no sooner than our own code syncs it. Power
may fail at every fault point, before each sync, and when the work is done: at each such moment the recorder notes what
is there and what of it is in doubt. `states` are the clones that may be found afterwards: each file in doubt whole,
empty or absent (or as it was before), all combinations of up to six of them, else each one and each pair.

`record` and `replay` are to be called in processes of their own (`nursery`).
"""

import importlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from infra import faults
from infra.repair import repair
from infra.store import TEMPORARY, Store
from infra.whole import finished_keys
from schemas.errors import EngineError
from tests.faults.tables import counted, different, lasting_files, of_stages, visible

SIX = 6
"""Files in doubt up to which all combinations are tried."""
EMPTY, ABSENT = 0, -1
"""In place of an inode: a file of no bytes; no file."""
DONE = "done"

Files = dict[str, int]
"""Files of a store by path below its root; which bytes, by inode: `pool/<inode>` holds them."""


class Doubt(NamedTuple):
    """A file, or a new folder with all that is in it, and what the power may leave in its place."""

    path: str
    instead: tuple[int, ...]


@dataclass(frozen=True)
class Moment:
    """When the power may fail."""

    when: str
    files: Files
    doubts: tuple[Doubt, ...]


class State(NamedTuple):
    """What is found afterwards, and in words what is not as it was."""

    when: str
    lost: str
    files: Files


class Recorder:
    """Watches this process work on the store at `root`; all bytes that it sees are kept in `pool`."""

    def __init__(self, root: Path, pool: Path) -> None:
        self.root, self.pool = root, pool
        self.moments: list[Moment] = []
        pool.mkdir(parents=True, exist_ok=True)
        files, folders = self._scan()
        self._contents = {status.st_ino: _mark(status) for status in files.values()}
        self._names: dict[str, dict[str, int]] = {folder: {} for folder in folders}
        self._sync_names()

    def watch(self, work: Callable[[], Any]) -> Any:
        """Do the work, watched."""
        real = {name: getattr(os, name) for name in ("fsync", "fdatasync", "sync")}
        reach = faults.reach

        def reach_noticed(point: str) -> None:
            self.note(f"at {point}")
            reach(point)

        def sync_file(number: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            inside = path.is_relative_to(self.root)
            if inside:
                self.note(f"before the sync of {path.relative_to(self.root)}")
            real["fsync"](number)
            if inside:
                self._synced(path, os.fstat(number))

        def sync_all() -> None:
            self.note("before the sync of everything")
            self._contents |= {status.st_ino: _mark(status) for status in self._scan()[0].values()}
            self._sync_names()

        faults.reach, os.fsync, os.fdatasync, os.sync = reach_noticed, sync_file, sync_file, sync_all
        try:
            result = work()
        finally:
            faults.reach, os.fsync, os.fdatasync, os.sync = reach, real["fsync"], real["fdatasync"], real["sync"]
        self.note(DONE)
        return result

    def note(self, when: str) -> None:
        """The power may fail now."""
        files, folders = self._scan()
        self.moments.append(
            Moment(when, {path: status.st_ino for path, status in files.items()}, self._doubts(files, folders))
        )

    def _doubts(self, files: dict[str, os.stat_result], folders: dict[str, int]) -> tuple[Doubt, ...]:
        found = []
        for folder, inode in folders.items():
            if folder and self._lasting(folder) != inode:
                found.append(Doubt(folder, (ABSENT,)))
        for path, status in files.items():
            if path.rsplit("/", 1)[-1].startswith(TEMPORARY):
                continue  # nobody reads them: whether they are there is one to all
            instead = [] if self._contents.get(status.st_ino) == _mark(status) else [EMPTY]
            if self._lasting(path) != status.st_ino:
                instead.append(self._lasting(path))
            if instead:
                found.append(Doubt(path, tuple(instead)))
        for folder, names in self._names.items():
            for name, inode in names.items():
                path = f"{folder}/{name}" if folder else name
                gone = path not in files and path not in folders and not name.startswith(TEMPORARY)
                if gone and (self.pool / str(inode)).exists():
                    found.append(Doubt(path, (inode,)))
        return tuple(found)

    def _lasting(self, path: str) -> int:
        """The inode that has this name for good, or ABSENT."""
        folder, _, name = path.rpartition("/")
        return self._names.get(folder, {}).get(name, ABSENT)

    def _synced(self, path: Path, status: os.stat_result) -> None:
        if not stat.S_ISDIR(status.st_mode):
            self._contents[status.st_ino] = _mark(status)
            return
        folder = str(path.relative_to(self.root))
        self._sync_folder("" if folder == "." else folder)

    def _sync_names(self) -> None:
        for folder in self._scan()[1]:
            self._sync_folder(folder)

    def _sync_folder(self, folder: str) -> None:
        with os.scandir(self.root / folder) as entries:
            self._names[folder] = {entry.name: entry.stat().st_ino for entry in entries}

    def _scan(self) -> tuple[dict[str, os.stat_result], dict[str, int]]:
        """Files and folders below the root, which is "" itself."""
        files: dict[str, os.stat_result] = {}
        folders: dict[str, int] = {}
        for place, inner, names in os.walk(self.root):
            inner.sort()
            folder = os.path.relpath(place, self.root)
            folder = "" if folder == "." else folder
            folders[folder] = os.stat(place).st_ino
            for name in sorted(names):
                path = f"{folder}/{name}" if folder else name
                files[path] = os.stat(self.root / path)
                kept = self.pool / str(files[path].st_ino)
                if not kept.exists():
                    os.link(self.root / path, kept)
        return files, folders


def _mark(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def states(moments: Sequence[Moment], *, pairs: bool = True) -> list[State]:
    """What may be found after a failure at one of the moments, each once; without `pairs` only one loss at a time."""
    found: list[State] = []
    seen: set[frozenset[tuple[str, int]]] = set()
    for moment in moments:
        for losses in _losses(moment.doubts, pairs):
            files = _without(moment.files, losses)
            content = frozenset(files.items())
            if content not in seen:
                seen.add(content)
                found.append(State(moment.when, ", ".join(map(_told, losses)) or "nothing", files))
    return found


def _losses(doubts: Sequence[Doubt], pairs: bool) -> Iterator[tuple[Doubt, ...]]:
    """Each a choice of doubts with the one thing that was found instead."""
    if pairs and len(doubts) <= SIX:
        for chosen in product(*((None, *doubt.instead) for doubt in doubts)):
            yield tuple(Doubt(d.path, (found,)) for d, found in zip(doubts, chosen, strict=True) if found is not None)
        return
    for size in range(3 if pairs else 2):
        for some in combinations(doubts, size):
            for chosen in product(*(doubt.instead for doubt in some)):
                yield tuple(Doubt(d.path, (found,)) for d, found in zip(some, chosen, strict=True))


def _without(files: Files, losses: Sequence[Doubt]) -> Files:
    changed = {**files, **{doubt.path: doubt.instead[0] for doubt in losses}}
    gone = [doubt.path for doubt in losses if doubt.instead == (ABSENT,)]
    return {
        path: inode
        for path, inode in changed.items()
        if inode != ABSENT and not any(path.startswith(f"{folder}/") for folder in gone)
    }


def _told(loss: Doubt) -> str:
    word = {EMPTY: "empty", ABSENT: "absent"}.get(loss.instead[0], "as it was")
    return f"{loss.path} {word}"


def build(state: State, pool: Path, root: Path) -> None:
    """Put the state in place of what is at `root`."""
    shutil.rmtree(root, ignore_errors=True)
    made: set[Path] = set()
    for path, inode in state.files.items():
        target = root / path
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        if inode == EMPTY:
            target.touch()
        else:
            os.link(pool / str(inode), target)


def record(root: str, pool: str, call: str, arguments: Sequence[Any]) -> str:
    """Do `call(*arguments)`, watched; the file that holds the moments."""
    recorder = Recorder(Path(root), Path(pool))
    recorder.watch(lambda: _function(call)(*arguments))
    file = Path(pool, "moments.json")
    file.write_text(json.dumps([asdict(moment) for moment in recorder.moments]), encoding="utf-8")
    return str(file)


def moments_of(file: str) -> list[Moment]:
    """The moments that `record` noted."""
    raw = json.loads(Path(file).read_text(encoding="utf-8"))
    return [
        Moment(one["when"], one["files"], tuple(Doubt(path, tuple(instead)) for path, instead in one["doubts"]))
        for one in raw
    ]


def replay(root: str, pool: str, call: str, arguments: Sequence[Any], expected: str, found: Sequence[Any]) -> list[str]:
    """For each state: look, do the call again, look again. What was lost without a word, or can't be gone on from.

    `expected` is the store that undisturbed work left; without a call, all of it must be there at once.
    """
    rows = visible(Store.open(expected, create=False))
    files = lasting_files(Store.open(expected, create=False))
    work = (lambda: _function(call)(*arguments)) if call else (lambda: None)
    problems = []
    for state in (State(*one) for one in found):
        build(state, Path(pool), Path(root))
        for problem in _look(root, rows), _go_on(root, work, rows, files):
            if problem:
                problems.append(f"{state.when}, lost: {state.lost}: {problem}")
    return problems


def _look(root: str, rows: dict[str, pa.Table]) -> str:
    """What a reader gets to see that isn't true; "" if all of it is, or if it is told that something is wrong."""
    store = Store.open(root)
    try:
        seen = visible(store)
        keys = pa.array(sorted(finished_keys(store)), pa.string())
        numbers = counted(store)
    except EngineError:
        return ""
    except Exception as error:  # noqa: BLE001 - whatever it is, it is no word to a person
        return f"a reader met {type(error).__name__}: {error}"
    fixed = {"rounds": rows["rounds"]}  # what was decided last may be decided again
    wrong = different({**of_stages(seen, keys), **fixed}, {**of_stages(rows, keys), **fixed})
    by_views = [table for table, found in seen.items() if numbers[table] != len(found)]
    return "; ".join([*(f"read silently {one}" for one in wrong), *(f"by DuckDB other {one}" for one in by_views)])


def _go_on(root: str, work: Callable[[], Any], rows: dict[str, pa.Table], files: dict[str, bytes | None]) -> str:
    """What is missing after the work was done again, after a repair where it asks for one; "" if nothing."""
    try:
        try:
            work()
        except EngineError:
            repair(Store.open(root))
            work()
        store = Store.open(root)
        wrong = different(visible(store), rows)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told with the state that it comes of
        return f"run again it stops with {type(error).__name__}: {error}"
    if wrong:
        return f"run again there are other rows: {'; '.join(wrong)}"
    return "" if lasting_files(store) == files else "run again there are other files"


def _function(call: str) -> Callable[..., Any]:
    module, _, name = call.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
