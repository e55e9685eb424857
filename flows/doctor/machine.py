"""doctor: what this machine has for the engine, and what is in its way."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from flows.process.errors import without_passwords
from flows.process.surroundings import settled
from flows.serve.address import why_it_does_not_answer
from infra.deep import Finding, Level
from infra.private import is_private
from infra.store import Store
from schemas.errors import EngineError

LEAST_PYTHON = (3, 11)
LEAST_MEMORY_BYTES = 6 * 1024**3
LEAST_DISK_BYTES = 2 * 1024**3
_NEEDED = ("torch", "ray", "prefect", "deltalake", "duckdb", "pyarrow", "smplx", "roma", "numba")


def examine(store: str | None = None, body: str = "tiny") -> Iterator[Finding]:
    """All findings, the slow ones last."""
    yield _python()
    yield from _libraries()
    yield examine_store(store)
    yield _cores()
    yield _memory()
    yield _disk(store)
    yield _body(body)
    yield _gpu()
    yield _pytorch3d()
    yield from _surroundings()
    yield _ray_address()
    yield from _ray_token()
    yield _prefect()


def _python() -> Finding:
    level: Level = "good" if sys.version_info >= LEAST_PYTHON else "problem"
    wanted = "" if level == "good" else f"; needed: {'.'.join(map(str, LEAST_PYTHON))} or newer"
    return Finding("python", level, f"{platform.python_version()} on {platform.system()} {platform.machine()}{wanted}")


def _libraries() -> Iterator[Finding]:
    for name in _NEEDED:
        try:
            yield Finding(name, "good", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "problem", "is not installed: run `make install`, or pip install adhmr-engine")


def examine_store(url: str | None) -> Finding:
    """Whether the store is there and writable, or can be made."""
    try:
        named = Store.at(url)
        if named.is_local and not Path(named.root).exists():
            return _place_of_a_new_store(Path(named.root))
        Store.open(url, create=False)
    except EngineError as error:
        return Finding("store", "problem", str(error))
    try:
        Store.open(url)
    except EngineError as error:
        return Finding(
            "store", "problem", f"{error} Commands that only read (query, report, rounds, status, plan) work."
        )
    return Finding("store", "good", f"{named.url} is there and writable")


def _place_of_a_new_store(target: Path) -> Finding:
    parent = next(place for place in target.parents if place.exists())
    if parent.is_dir() and os.access(parent, os.W_OK):
        return Finding("store", "good", f"{target} does not exist yet and can be made")
    return Finding(
        "store",
        "problem",
        f"There is no store at {target}, and none can be made: {parent} is no folder that this user may write to.",
    )


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = f"{usable} usable"
    return Finding("cores", "good" if usable >= 2 else "note", text if usable >= 2 else f"{text}; 2 are better")


def _memory() -> Finding:
    free = psutil.virtual_memory()
    text = f"{free.available / 1024**3:.1f} GiB free of {free.total / 1024**3:.1f} GiB"
    if free.available < LEAST_MEMORY_BYTES:
        return Finding("memory", "note", f"{text}; a round of the tiny profile takes up to 6 GiB")
    return Finding("memory", "good", text)


def _disk(url: str | None) -> Finding:
    try:
        named = Store.at(url)
    except EngineError:
        return Finding("disk", "note", "not looked at: see store")
    if not named.is_local:
        return Finding("disk", "good", "the store is remote")
    target = Path(named.root)
    place = next(place for place in (target, *target.parents) if place.exists())
    free = psutil.disk_usage(str(place)).free
    level: Level = "good" if free >= LEAST_DISK_BYTES else "note"
    return Finding("disk", level, f"{free / 1024**3:.1f} GiB free at {place}")


def _body(name: str) -> Finding:
    from models.bodies import load_body

    try:
        loaded = load_body(name)
    except EngineError as error:
        return Finding("body", "problem", str(error))
    return Finding("body", "good", f"{name}: {loaded.v_template.shape[0]:,} vertices, digest {loaded.digest[:12]}")


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", "good", f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}")
    return Finding("GPU", "note", "none; the profiles tiny and micro need none")


def _pytorch3d() -> Finding:
    from models.rendering.raster import pytorch3d_is_installed

    if pytorch3d_is_installed():
        return Finding("pytorch3d", "good", "installed; it draws the overlays")
    return Finding("pytorch3d", "note", "not installed; overlays are drawn by the engine's own rasteriser")


def _surroundings() -> Iterator[Finding]:
    """What was put right for the libraries is a note."""
    for one in settled():
        level: Level = "problem" if one.is_problem else "note" if one.is_put_right else "good"
        yield Finding(one.what, level, one.text)


def _ray_address() -> Finding:
    address = os.environ.get("RAY_ADDRESS")
    return Finding("ray cluster", "note", f"RAY_ADDRESS={address}" if address else "none named; runs start a local one")


def _ray_token(file: Path = Path("~/.ray/auth_token")) -> Iterator[Finding]:
    """Ray makes this file for all to read. The engine's sessions use none, but any other Ray of this user may."""
    token = file.expanduser()
    if token.is_file() and not is_private(token.stat()):
        yield Finding("Ray's token", "note", f"others can read {token}: remove it, unless another program's Ray runs")


def _prefect() -> Finding:
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value()
    if not address:
        return Finding("Prefect API", "note", "none named (PREFECT_API_URL); runs start a temporary one")
    if trouble := why_it_does_not_answer(address):
        return Finding("Prefect API", "problem", trouble)
    return Finding("Prefect API", "good", f"{without_passwords(address)} answers")
