"""Copies of table files on a machine's own disk, so that crops come over the network once for all stages and rounds.

Copied are the files of `instances`, whose bytes are nearly all crops, when a shard asks for these: whole, under a name
that says their content, so that a copy is never out of date. Of a store in a folder nothing is copied.
"""

import os
import shutil
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow.fs import FSSpecHandler, PyFileSystem

from infra.data_files import DataFile, content_digits
from infra.intact import LostFileError, lost_file
from infra.node_cache import Kept, NodeCache
from infra.store import Store
from schemas.digests import digest, stream_digest
from schemas.errors import ConfigError, StoreError

_TABLE: Final = "instances"
_COLUMN: Final = "crop"
_PIECE: Final = 2**20
_intact: set[tuple[str, int]] = set()
"""Copies that this process has found intact, by name and inode."""


def with_copies(store: Store, cache: NodeCache) -> Store:
    """The store, read with copies on this machine; the store itself where it is a folder."""
    return store if store.is_local else replace(store, copies=cache)


def copy_name(file: DataFile) -> str:
    """The name of its copy, on every machine."""
    return f"copy-{digest([file.path, file.size])[:32]}.parquet"


def copied(folder: str, names: Collection[str]) -> set[str]:
    """Those of the names that a machine's cache folder has."""
    try:
        return set(names) & set(os.listdir(folder))
    except OSError:  # it was never needed here
        return set()


def reading(store: Store, files: Sequence[DataFile], columns: Collection[str]) -> Any:
    """The filesystem to read these files by: with copies where `store` is read so and crops are asked for."""
    if store.copies is None or _COLUMN not in columns or any(file.table != _TABLE for file in files):
        return store.fs
    return PyFileSystem(_Copies(store, store.copies, files))


class _Copies(FSSpecHandler):
    """The filesystem of a store for Arrow, which opens copies of some files in place of the files."""

    def __init__(self, store: Store, cache: NodeCache, files: Sequence[DataFile]) -> None:
        super().__init__(store.fs)
        self._store, self._cache = store, cache
        self._files = {store.path(file.name): file for file in files}

    def open_input_file(self, path: str) -> pa.NativeFile:
        file = self._files.get(path)
        if file is None:
            return super().open_input_file(path)
        try:
            kept = self._copy(file)
        except LostFileError:
            raise
        except (ConfigError, StoreError) as error:  # the machine lacks room or permission: that costs time alone
            warnings.warn(f"No copy of {self._store.uri(file.name)} is kept: {error}", stacklevel=1)
            return super().open_input_file(path)
        try:
            return pa.memory_map(str(kept.path))  # which stays, also if the cache removes the file meanwhile
        finally:
            kept.close()

    def _copy(self, file: DataFile) -> Kept:
        """The copy, compared with what the log says of the file, once in each process."""
        name, make = copy_name(file), partial(_fetch, self._store, file)
        for _ in range(2):
            kept = self._cache.open(name, make)
            known = name, os.fstat(kept.opened.fileno()).st_ino
            if known in _intact or not _damage(kept.path, file):
                _intact.add(known)
                return kept
            self._cache.discard(kept)
        raise StoreError(f"The copy {self._cache.folder / name} is not what was written, and twice so.")


def _fetch(store: Store, file: DataFile, path: Path) -> None:
    with store.fs.open(store.path(file.name), "rb", cache_type="none") as source, open(path, "wb") as copy:
        shutil.copyfileobj(source, copy, _PIECE)
    if problem := _damage(path, file):
        raise lost_file(store, file.table, f"{file.name} {problem}")


def _damage(path: Path, file: DataFile) -> str:
    """In which way what lies at `path` is not the file; empty if it is."""
    size = path.stat().st_size
    if size != file.size:
        return f"has {size} bytes instead of {file.size}"
    digits = content_digits(file.path)
    with open(path, "rb") as copy:
        return "holds other bytes than were written" if digits and not stream_digest(copy).startswith(digits) else ""
