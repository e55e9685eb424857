"""How far the hypotheses of people lie apart: measured on poses, when they are scored (`scores.spread_mm`).

Lists need it too of hypotheses that nobody scored, or that an earlier version did. For these it is made in a thread of
its own, stage after stage. That reads poses, which are most of what a store holds: a list that asks for it can say how
far it is, and all others answer meanwhile.
"""

# as text: DuckDB complains at the end of a process of types that an annotation holds
from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.memory import give_memory_back
from infra.pieces import together
from infra.stages import find
from infra.standing import chains, seen_by
from infra.store import Store
from infra.table_rows import read_files
from infra.tables import live_files
from infra.views import quoted
from schemas.tables import contract, matrix

if TYPE_CHECKING:
    import duckdb

_JOINTS: Final = 29
_AT_ONCE: Final = 8000
"""Hypotheses at a time: each time costs a look through the list of all people, and each hypothesis some kilobytes."""
_COLUMNS: Final = ("instance_id", "sample_index", "uvd", "root_depth_m")


@dataclass
class _Job:
    """A stage whose hypotheses are gone through."""

    rows: int = 0
    """Of the stage; 0 before its files are known."""
    done: int = 0
    end: Future[None] = field(init=False)


class Spreads:
    """Tables `spread_KEY` (instance_id, mm), one for each stage, of a DuckDB that has the list `people` with their
    reach."""

    def __init__(
        self,
        store: Store,
        connection: duckdb.DuckDBPyConnection,
        with_room: Callable[[Callable[[], object]], object],
    ) -> None:
        """`with_room` does some work, and makes room for it where there is none."""
        self._store, self._connection, self._with_room = store, connection, with_room
        self._jobs: dict[str, _Job] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = ThreadPoolExecutor(1, "spread")

    def share(self, keys: Sequence[str], patience_s: float) -> float:
        """Which share of these stages' hypotheses their tables are made of, after so many seconds at most; 1: all are
        whole.

        Begins with what isn't made. Raises, once, what kept a stage from being made, and tries again after that.
        """
        with self._lock:
            for key in keys:
                if key not in self._jobs:
                    self._jobs[key] = job = _Job()
                    job.end = self._thread.submit(self._make, key, job)
            jobs = {key: self._jobs[key] for key in keys}
        wait([job.end for job in jobs.values()], patience_s)
        for key, job in jobs.items():
            if job.end.done() and (error := job.end.exception()) is not None:
                with self._lock:
                    if self._jobs.get(key) is job:  # else somebody else has begun anew
                        del self._jobs[key]
                raise error
        if all(job.end.done() for job in jobs.values()):
            return 1.0
        known = [job for job in jobs.values() if job.rows]
        # of stages that wait for their turn nothing is known, and they count as much as the others
        parts = sum(job.done / job.rows for job in known)
        return min(0.99, parts / len(jobs))

    def close(self) -> None:
        """End, and drop what is not made."""
        self._over.set()
        self._thread.shutdown(cancel_futures=True)

    def _make(self, key: str, job: _Job) -> None:
        files = [file for file in live_files(self._store, "hypotheses", stage_keys=[key]) if file.rows]
        job.rows = sum(file.rows for file in files)
        ingests = ingests_of(self._store, key)
        places = " ".join(f"WHEN {quoted(one)} THEN {place}" for place, one in enumerate(ingests)) or "WHEN '' THEN 0"
        named = ", ".join(map(quoted, ingests)) or "''"
        with self._connection.cursor() as cursor:
            cursor.execute(f"CREATE OR REPLACE TABLE spread_{key} (instance_id VARCHAR, mm DOUBLE)")
            for some in together(files, _AT_ONCE):  # a person's hypotheses lie in one file
                if self._over.is_set():
                    return
                table = read_files(self._store, contract("hypotheses"), some, columns=_COLUMNS)
                table = table.filter(pc.greater(table.column("sample_index"), 0))
                cursor.register("of_files", table.select(["instance_id"]))
                cursor.execute(
                    f"SELECT instance_id, arg_min(reach, CASE stage_key {places} END) FROM people "
                    f"SEMI JOIN of_files USING (instance_id) WHERE stage_key IN ({named}) GROUP BY 1"
                )
                cursor.register("spread_of_files", spread_of(table, dict(cursor.fetchall())))
                insert = f"INSERT INTO spread_{key} SELECT instance_id, mm FROM spread_of_files"
                self._with_room(partial(cursor.execute, insert))
                job.done += sum(file.rows for file in some)
        give_memory_back()


def ingests_of(store: Store, key: str) -> list[str]:
    """The ingests, the newest first, that a stage's people were taken from; the first that has a person counts."""
    record = find(store, key)
    return [one for keys in chains(store, seen_by(record)) for one in keys] if record is not None else []


def apart_mm(joints: np.ndarray, metres: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(N,) how far each person's hypotheses lie apart: root mean square distance of a joint from its mean place, the
    pelvises laid together, averaged over the 29 joints. By weak perspective: all of a body as far away as its pelvis.

    Args:
        joints: (K, 29, 3) uvd, normalised, person after person.
        metres: (K,) what half a crop's side is at the hypothesis's pelvis.
        starts: (N,) the row at which each person begins.
    """
    counts = np.diff([*starts, len(joints)])[:, None, None]
    joints = joints.astype(np.float64)
    joints -= joints[:, :1].copy()
    joints[..., :2] *= metres[:, None, None]
    mean = np.add.reduceat(joints, starts) / counts
    square = np.maximum(np.add.reduceat(joints**2, starts) / counts - mean**2, 0.0)
    return np.asarray(np.sqrt(square.sum(-1)).mean(-1) * 1000)


def spread_of(hypotheses: pa.Table, reach: Mapping[str, float]) -> pa.Table:
    """How far each person's hypotheses lie apart (`apart_mm`).

    `hypotheses` has the columns instance_id, uvd, root_depth_m; `reach` half a crop's side in metres, at 1 m, by
    instance_id. Gives instance_id and mm, null for whom it is not known.
    """
    ordered = hypotheses.sort_by("instance_id")
    ids = ordered.column("instance_id").combine_chunks()
    if not len(ids):
        return pa.table({"instance_id": pa.array([], pa.string()), "mm": pa.array([], pa.float64())})
    starts = np.flatnonzero(np.diff(ids.dictionary_encode().indices.to_numpy(), prepend=-1))
    people = ids.take(pa.array(starts)).to_pylist()
    counts = np.diff([*starts, len(ids)])
    metres = np.repeat([reach.get(name, np.nan) for name in people], counts) * ordered.column("root_depth_m").to_numpy()
    spread = apart_mm(matrix(ordered, "uvd").reshape(-1, _JOINTS, 3), metres, starts)
    return pa.table({"instance_id": people, "mm": pa.array(spread, pa.float64(), mask=np.isnan(spread))})
