"""Crops that are decoded as they are drawn, out of a file of encoded crops that each machine keeps of an ingest.

The file holds the bytes of the table as they are, and is mapped into memory: how large a data set is says nothing of
how much memory it takes. Each crop has its digest beside it, which is compared whenever the crop is decoded.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.data_files import DataFile
from infra.node_cache import Kept, NodeCache
from infra.store import Store
from infra.table_rows import read_files
from infra.tables import live_files
from schemas.digests import bytes_digest, digest
from schemas.errors import DamagedError
from schemas.ids import StageKey
from schemas.tables import contract
from tasks.rows.crops import decoded, stacked

_SCHEMA: Final = pa.schema([("instance_id", pa.string()), ("crop", pa.binary()), ("sha256", pa.string())])
_BATCH_ROWS: Final = 256
_MOST_THREADS: Final = 8


class CropFile:
    """The encoded crops of one ingest, kept on this machine; made where it is not there."""

    def __init__(self, store: Store, cache: NodeCache, ingest: StageKey) -> None:
        self._store, self._cache, self._ingest = store, cache, ingest
        self._lock = Lock()
        self._kept, self._rows = self._open()

    def places(self, ids: pa.Array) -> np.ndarray:
        """The row of each of these instances. A file that lacks one is damaged, and made anew."""
        rows = self._rows
        found = pc.index_in(ids, value_set=rows.column("instance_id").combine_chunks())
        if found.null_count:
            rows = self._renewed(rows)
            found = pc.index_in(ids, value_set=rows.column("instance_id").combine_chunks())
        if found.null_count:
            raise DamagedError(f"{self._kept.path} lacks {found.null_count} crops of its ingest, and twice so.")
        return found.to_numpy()

    def decoded(self, row: int) -> np.ndarray:
        """(S, S, 3) uint8. A file that is damaged is made anew; DamagedError where that does not help."""
        rows = self._rows
        data = _whole(rows, row)
        if data is None:
            data = _whole(self._renewed(rows), row)
        name = rows.column("instance_id")[row].as_py()
        if data is None:
            raise DamagedError(f"The crop of {name} in {self._kept.path} is not what was written, and twice so.")
        return decoded(name, data)

    def _renewed(self, damaged: pa.Table) -> pa.Table:
        with self._lock:
            if self._rows is damaged:  # else another thread has seen to it
                self._cache.discard(self._kept)
                self._kept, self._rows = self._open()
            return self._rows

    def _open(self) -> tuple[Kept, pa.Table]:
        files = live_files(self._store, "instances", stage_keys=[self._ingest])
        content = digest([[file.path, file.size] for file in files])
        name, make = f"crops-{self._ingest[:16]}-{content[:16]}.arrow", partial(_write, self._store, files)
        kept = self._cache.open(name, make)
        try:
            return kept, _mapped(kept.path)
        except (pa.ArrowException, OSError):  # damaged
            self._cache.discard(kept)
        kept = self._cache.open(name, make)
        return kept, _mapped(kept.path)


class CachedCrops:
    """N crops of such files, decoded by threads; as `tasks.rows.crops.Crops`."""

    def __init__(self, files: Sequence[CropFile], file: np.ndarray, row: np.ndarray) -> None:
        """`file` (N,) says which of the files has each crop, `row` (N,) where in it."""
        self._files, self._file, self._row = files, file, row
        size = self._decoded(0).shape
        self.shape = (len(row), *size)

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """(R, S, S, 3) uint8. DataError for crops that can't be read, or of different sizes."""
        return stacked(list(_threads().map(self._decoded, rows)))

    def _decoded(self, place: int) -> np.ndarray:
        return self._files[self._file[place]].decoded(int(self._row[place]))


@cache
def _threads() -> ThreadPoolExecutor:
    """Those that decode in this process; Pillow works without Python's lock."""
    return ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1), "decoding")


def _whole(rows: pa.Table, row: int) -> bytes | None:
    """An encoded crop; None if it isn't what was written."""
    data: bytes = rows.column("crop")[row].as_py()
    return data if bytes_digest(data) == rows.column("sha256")[row].as_py() else None


def _mapped(path: Path) -> pa.Table:
    """The rows of a file, none of them read yet. ArrowInvalid for one whose parts don't fit together."""
    rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    rows.validate(full=True)  # or a damaged offset would lead out of the file
    return rows


def _write(store: Store, files: Sequence[DataFile], path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for file in files:
            rows = read_files(store, contract("instances"), [file], columns=["instance_id", "crop"])
            for batch in rows.to_batches(max_chunksize=_BATCH_ROWS):
                digests = [bytes_digest(crop) for crop in batch.column(1).to_pylist()]
                writer.write_batch(pa.record_batch([batch.column(0), batch.column(1), digests], schema=_SCHEMA))
