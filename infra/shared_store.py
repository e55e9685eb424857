"""Ray whose nodes see the store: a folder has to be the same folder on all of them; to S3 each finds its own way."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import ray
from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infra.ray_session import ray_session
from infra.store import TEMPORARY, Store
from schemas.config.engine import RayConfig
from schemas.errors import ConfigError


@contextmanager
def session_for(store: Store, settings: RayConfig, threads: int) -> Iterator[None]:
    """Ray as the configuration wants it, on nodes that see the store; `threads` as of `ray_session`.

    Inside another session that one is used, as it is. Raises ConfigError as `ray_session` and `check_store_is_shared`.
    """
    runs = ray.is_initialized()
    with ray_session(
        threads=threads,
        object_store_bytes=settings.object_store_mib * 1024**2,
        spill_folder=settings.spill_folder,
        spill_disk_share=settings.spill_disk_share,
    ):
        if not runs:
            check_store_is_shared(store)
        yield


def check_store_is_shared(store: Store) -> None:
    """ConfigError if a node of the session's cluster would not see what this process writes into a local store.

    Each other node that can be given work looks for a file that is there for this moment. Nothing is asked of a store
    on S3, nor where there is one node. A node that dies meanwhile gets no work, and so has no say.
    """
    others = _other_nodes() if store.is_local else {}
    if not others:
        return
    name = f"{TEMPORARY}seen-{uuid4().hex}"
    store.atomic_write(name, b"")
    try:
        blind = [label for node, label in others.items() if not _sees(node, store.path(name))]
    finally:
        store.remove(name)
    if blind:
        raise ConfigError(
            f"The store is a folder, {store.url}, which these nodes of the Ray cluster don't see: {', '.join(blind)}. "
            "Let ADHMR_STORE name an s3:// URL, or a folder that all nodes share under the same path."
        )


def ray_storage(store: Store) -> tuple[str, FileSystem | None]:
    """Where Ray Train keeps its runs, and the filesystem to reach it by; None where it needs no help."""
    return store.path("ray"), None if store.is_local else PyFileSystem(_OwnWay(store))


class _OwnWay(FSSpecHandler):
    """The filesystem of a store for Arrow. Only the store's name travels: each process finds credentials of its own."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.fs)
        self._store = store

    def __reduce__(self) -> tuple[Any, ...]:
        return _OwnWay, (self._store,)


def _other_nodes() -> dict[str, str]:
    """Living nodes that may be given work, but ours: id -> address and id, for messages."""
    ours = ray.get_runtime_context().get_node_id()
    return {
        node["NodeID"]: f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != ours and {"CPU", "GPU"} & node["Resources"].keys()
    }


def _sees(node: str, path: str) -> bool:
    on_node = NodeAffinitySchedulingStrategy(node, soft=False)
    look = ray.remote(os.path.exists).options(num_cpus=0, scheduling_strategy=on_node)
    try:
        return bool(ray.get(look.remote(path)))
    except ray.exceptions.RayError:
        return True
