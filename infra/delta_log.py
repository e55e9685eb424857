"""The log of a Delta table as the engine writes it: it survives a loss of power, and no writer's word in it is lost.

deltalake reads the logs and makes checkpoints of them. It writes no entry here, because it syncs none: an entry is a
small file that a single writer can make (a link on a disk, a conditional put on S3), and one that had its name before
its bytes were on the disk may be empty, torn or gone after a loss of power. For the same reason a checkpoint is made
aside and moved in whole.

Entries that a checkpoint holds are removed in the order of their versions, the newest `_KEPT` excepted. A writer who
was so slow that its version had been made and removed meanwhile sees that the one before it is gone as well.
"""

import json
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
from deltalake import DeltaTable

from infra import faults
from infra.data_files import DataFile
from infra.evolution import metadata
from infra.log_seals import breaks_its_seals, breaks_seal, checkpoint_seal, sealed_lines, seals_of
from infra.store import Store
from schemas.digests import canonical_json
from schemas.errors import StoreError
from schemas.tables import TableContract, contract

CHECKPOINT_EVERY = 10
"""Versions of a table from one checkpoint to the next: the most entries that a reader opens."""
_KEPT = 100
"""Entries that stay beside the checkpoint that holds them: for the history, and for slow readers and writers."""
_AT_ONCE = 200
"""Entries that are removed at one time: a store of an older version may have thousands."""
_CHECKPOINTS = 3


@dataclass(frozen=True)
class Entry:
    """What a version of a table adds and removes. `note` is shown in histories; `moves` says that no row comes or goes;
    `metadata`, where there is some, is from now on what the log says of the table."""

    adds: Sequence[DataFile] = ()
    removes: Sequence[DataFile] = ()
    transactions: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    moves: bool = False
    metadata: Mapping[str, object] | None = None

    def to_bytes(self) -> bytes:
        """The lines of the log's file; no two calls give the same."""
        return sealed_lines(self._actions(int(time.time() * 1000)))

    def _actions(self, at: int) -> Iterator[dict[str, object]]:
        yield {
            "commitInfo": {
                "timestamp": at,
                "operation": "ADD COLUMN" if self.metadata else "OPTIMIZE" if self.moves else "WRITE",
                "operationParameters": {"mode": "Append"},
                "engineInfo": "adhmr-engine",
                "token": uuid.uuid4().hex,
                **({"userMetadata": self.note} if self.note else {}),
            }
        }
        if self.metadata:
            yield {"metaData": self.metadata}
        for file in self.removes:
            removal = {"deletionTimestamp": at, "extendedFileMetadata": True}
            yield {"remove": {**_action(file, not self.moves), **removal}}
        for file in self.adds:
            addition = {"modificationTime": at, "stats": canonical_json(statistics(file))}
            yield {"add": {**_action(file, not self.moves), **addition}}
        # last: rows without the word that they are there do no harm, the word without the rows does
        for name, version in self.transactions.items():
            yield {"txn": {"appId": name, "version": version}}


def log_entry(table: str, version: int) -> str:
    """The file of a table's log that made this version, named below the store's root."""
    return f"{log_folder(table)}/{version:020d}.json"


def note_of(store: Store, table: str, version: int) -> str:
    """What the entry of a version says of who made it; empty where it says nothing, or is gone."""
    for line in _if_there(store, log_entry(table, version)).splitlines():
        if b'"commitInfo"' in line and isinstance(about := json.loads(line).get("commitInfo"), dict):
            return str(about.get("userMetadata") or "")
    return ""


def log_folder(table: str) -> str:
    """Where a table's log is, below the store's root."""
    return f"tables/{table}/_delta_log"


def write_entry(store: Store, table: str, version: int, entry: Entry) -> bool:
    """Make `version` of the table; False where another writer made it, or may have: look again.

    Once this is True the entry is there for good.
    """
    if not store.atomic_write(log_entry(table, version), entry.to_bytes(), replace=False):
        return False
    return store.exists(log_entry(table, version - 1))


def first_entry(table: TableContract) -> bytes:
    """The log's entry that makes a table without rows."""
    about = metadata(table)
    info = {
        "timestamp": about["createdTime"],
        "operation": "CREATE TABLE",
        "operationParameters": {},
        "engineInfo": "adhmr-engine",
    }
    return sealed_lines(
        [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": about}, {"commitInfo": info}]
    )


def tend_log(store: Store, table: str, opened: DeltaTable) -> None:
    """Make the checkpoint of the version that is open, if one is due, and remove what it makes superfluous."""
    version = opened.version()
    if version % CHECKPOINT_EVERY:
        return
    if store.is_local:
        _checkpoint_aside(store, table, version)
    else:
        opened.create_checkpoint()
    faults.reach(f"checkpoint:{table}")
    _tidy(store, table, version)


def checkpoint_file(table: str, version: int) -> str:
    """The checkpoint of a table's version, named below the store's root."""
    return f"{log_folder(table)}/{version:020d}.checkpoint.parquet"


def broken_files(
    store: Store, table: str, version: int, here: Sequence[str], since: int | None = None
) -> Iterator[str]:
    """The files of a log that made a version and are not as they were written: the newest checkpoint of those that are
    `here`, and the entries after it; or the entries after the version `since`. A file that went meanwhile is none."""
    checkpoints = [v for v in versions_of(here, ".checkpoint.parquet") if v <= version]
    if since is None and checkpoints and checkpoint_is_broken(store, table, checkpoints[-1], here):
        yield checkpoint_file(table, checkpoints[-1])
    first = since if since is not None else checkpoints[-1] if checkpoints else -1
    for one in range(first + 1, version + 1):
        if breaks_seal(_if_there(store, log_entry(table, one))):
            yield log_entry(table, one)


def checkpoint_is_broken(store: Store, table: str, version: int, here: Sequence[str]) -> bool:
    """Whether a checkpoint is not as the engine made it; `here` are the files of its log."""
    path = checkpoint_file(table, version)
    if not seals_of(path, here) or not breaks_its_seals(path, _if_there(store, path), here):
        return False
    # another process may just have sealed it in its own bytes
    now = store.list_files(log_folder(table))
    return path in now and breaks_its_seals(path, _if_there(store, path), now)


def _if_there(store: Store, path: str) -> bytes:
    try:
        return store.read_bytes(path)
    except StoreError:
        return b""


def versions_of(paths: Sequence[str], ending: str) -> list[int]:
    """The versions that files of a log with this ending (".json", ".checkpoint.parquet") are of, in order."""
    names = [path.rsplit("/", 1)[-1] for path in paths]
    stems = [name.removesuffix(ending) for name in names if name.endswith(ending)]
    return sorted(int(digits) for digits in stems if len(digits) == 20 and digits.isdigit())


def _checkpoint_aside(store: Store, table: str, version: int) -> None:
    """Have deltalake make the checkpoint in a copy of the log, and take over what it made, synced and whole."""
    here = store.list_files(log_folder(table))
    before = max((v for v in versions_of(here, ".checkpoint.parquet") if v <= version), default=None)
    wanted = [log_entry(table, v) for v in versions_of(here, ".json") if (before or -1) < v <= version]
    with tempfile.TemporaryDirectory(prefix="adhmr-log-") as folder:
        log = Path(folder, "_delta_log")
        log.mkdir()
        for path in [*wanted, *([checkpoint_file(table, before)] if before is not None else [])]:
            (log / path.rsplit("/", 1)[-1]).write_bytes(store.read_bytes(path))
        DeltaTable(folder).create_checkpoint()
        data = (log / checkpoint_file(table, version).rsplit("/", 1)[-1]).read_bytes()
        store.atomic_write(checkpoint_seal(checkpoint_file(table, version), data), b"")
        store.atomic_write(checkpoint_file(table, version), data)
        # after it: this says which checkpoint is the newest
        store.atomic_write(f"{log_folder(table)}/_last_checkpoint", (log / "_last_checkpoint").read_bytes())


def _tidy(store: Store, table: str, version: int) -> None:
    """Remove entries and checkpoints that the checkpoint of `version` holds, but for the newest."""
    here = store.list_files(log_folder(table))
    checkpoints = versions_of(here, ".checkpoint.parquet")
    old = [v for v in versions_of(here, ".json") if v <= version - _KEPT][:_AT_ONCE]
    if old and _holds(store, table, version, old):
        for one in old:
            store.remove(log_entry(table, one))
    for one in checkpoints[:-_CHECKPOINTS]:
        store.remove(checkpoint_file(table, one))
        for seal in seals_of(checkpoint_file(table, one), here):
            store.remove(seal)


def _holds(store: Store, table: str, version: int, entries: Sequence[int]) -> bool:
    """Whether the checkpoint holds every transaction of these entries, which is what they are kept for."""
    data = BytesIO(store.read_bytes(checkpoint_file(table, version)))
    kept = pq.read_table(data, columns=["txn"]).column("txn").combine_chunks().field("appId").to_pylist()
    names = set(kept)
    for entry in entries:
        written = store.read_bytes(log_entry(table, entry))
        if breaks_seal(written):
            return False
        for line in written.splitlines():
            claim = json.loads(line).get("txn") if line.strip() else None
            if claim and claim["appId"] not in names:
                return False
    return True


def statistics(file: DataFile) -> dict[str, object]:
    """What any Delta client may skip the file by. Bounds stand in full: a shortened upper one would have to be raised.

    Written without escapes, as canonical JSON is: deltalake 1.6 reads pairs of them above U+1FFFF as other characters.
    """
    unit = contract(file.table).unit
    if file.ids is None or unit is None:
        return {"numRecords": file.rows}
    bounds = {"minValues": {unit: file.ids.low}, "maxValues": {unit: file.ids.high}}
    return {"numRecords": file.rows, **bounds, "nullCount": {unit: 0}}


def _action(file: DataFile, changes: bool) -> dict[str, object]:
    """What the addition and the removal of a file have in common."""
    about = {"partitionValues": dict(file.partition), "size": file.size, "dataChange": changes}
    return {"path": quote(file.path, safe="/="), **about}
