"""Logs of tables that a loss of power, or a damaged disk, has made unreadable.

Versions of the engine before this one synced no entry of a log; one that is empty, torn or gone keeps the whole table
from being opened, or reads as if nothing had been written. Whatever can't be read, or is not as it was sealed, is put
aside, under `damaged/`. Where a single bit has flipped, it is turned back; else an entry with the lines that are whole
takes its place. What an entry had said of a stage is then missing in its table:
the stage isn't whole, and is repaired as such.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from infra.data_files import DataFile
from infra.delta_log import (
    Entry,
    checkpoint_file,
    checkpoint_is_broken,
    first_entry,
    log_entry,
    log_folder,
    statistics,
    versions_of,
)
from infra.flipped import turned_back
from infra.intact import damage
from infra.log_seals import actions_of, breaks_seal, keeps_seal, sealed_lines
from infra.shards import id_range
from infra.store import Store
from schemas.tables import TABLES, contract

ASIDE = "damaged"
_CHECKPOINT, _ENTRY, _HINT = ".checkpoint.parquet", ".json", "_last_checkpoint"
_ACTIONS = {"add", "remove", "txn", "metaData", "protocol", "commitInfo"}


@dataclass(frozen=True)
class LogDamage:
    """A file of a log that is not as it was written. `instead` takes its place; None: nothing does. `exact`: it is what
    was written."""

    path: str
    what: str
    instead: bytes | None
    exact: bool = False

    def __str__(self) -> str:
        kept = "what was written" if self.exact else "an entry with what can be read of it"
        return f"{self.path} {self.what}" + ("" if self.instead is None else f"; {kept} takes its place")


def mend_logs(store: Store, *, dry_run: bool = False) -> list[LogDamage]:
    """Put aside what is damaged in the logs of all tables, so that they can be opened; what was, or would be, done."""
    damages = [broken for table in TABLES for broken in _damages(store, table)]
    for broken in () if dry_run else damages:
        put_aside(store, broken.path, broken.instead)
    return damages


def put_aside(store: Store, path: str, instead: bytes | None = None) -> None:
    """Move a file, if it is there, below `damaged/`; `instead` takes its place, and there is no moment without it."""
    if store.exists(path):
        store.atomic_write(f"{ASIDE}/{path}", store.read_bytes(path))
    if instead is None:
        store.remove(path)
    else:
        store.atomic_write(path, instead)


def _damages(store: Store, table: str) -> list[LogDamage]:
    """In the order in which they are to be mended: killed in between, what is left is found again."""
    here = store.whole_files(log_folder(table))
    entries = versions_of(here, _ENTRY)
    bad = [v for v in versions_of(here, _CHECKPOINT) if not _is_checkpoint(store, table, v, here)]
    good = [v for v in versions_of(here, _CHECKPOINT) if v not in bad]
    damages = [LogDamage(checkpoint_file(table, v), "is no checkpoint that can be read and trusted", None) for v in bad]
    hint = f"{log_folder(table)}/{_HINT}"
    if hint in here and _said_version(store.read_bytes(hint)) not in good:
        damages.append(LogDamage(hint, "names no checkpoint that can be read", None))
    start = max(good, default=-1)
    for version in range(start + 1, max(entries, default=start) + 1):
        path = log_entry(table, version)
        if version not in entries:
            damages.append(LogDamage(path, "is not there, though later ones are", _entry_of(table, version, [])))
            continue
        data = store.read_bytes(path)
        lines, torn = _whole_lines(data)
        if torn or breaks_seal(data):
            whole = turned_back(data, keeps_seal)
            if whole is not None:
                damages.append(LogDamage(path, "has a flipped bit", whole, exact=True))
            else:
                kept = lines if torn else [line for line in lines if _can_be_trusted(store, table, line)]
                damages.append(LogDamage(path, torn or "is not as it was written", _entry_of(table, version, kept)))
        elif version == 0 and not {"protocol", "metaData"} <= {name for line in lines for name in line}:
            damages.append(LogDamage(path, "does not make the table", _entry_of(table, version, lines)))
    return damages


def _whole_lines(data: bytes) -> tuple[list[dict[str, Any]], str]:
    """The lines of an entry that can be read, and what is wrong with it: "" if nothing."""
    lines: list[dict[str, Any]] = []
    for line in data.splitlines():
        try:
            read = json.loads(line)
        except ValueError:
            return lines, "is torn"
        if not isinstance(read, dict) or not read.keys() & _ACTIONS:
            return lines, "is no entry of a log"
        lines.append(read)
    return (lines, "") if lines else (lines, "is empty")


def _entry_of(table: str, version: int, lines: Sequence[dict[str, Any]]) -> bytes:
    """An entry with these lines, as far as they are whole in themselves; the first one makes the table as well: as this
    engine makes it, where what was said of it can't be read."""
    kept = [line for line in lines if line.keys() & {"metaData", "add", "remove", "txn"}]
    if version == 0:
        begin = first_entry(contract(table))
    else:
        begin = Entry(note="repaired: what can't be read of it was put aside").to_bytes()
    if any("metaData" in line for line in kept):
        return sealed_lines([*(line for line in actions_of(begin) if "metaData" not in line), *kept])
    return sealed_lines([*actions_of(begin), *kept])


def _can_be_trusted(store: Store, table: str, line: dict[str, Any]) -> bool:
    """Whether a line of an entry that is not as it was written says nothing of a file but what the file itself says,
    and nothing of the table, which nothing else tells."""
    add = line.get("add")
    if add is None:
        return "metaData" not in line
    try:
        partition = tuple(sorted(add["partitionValues"].items()))
        said = json.loads(add["stats"])
        file = DataFile(table, unquote(add["path"]), partition, int(said["numRecords"]), int(add["size"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    folder = "/".join(f"{name}={value}" for name, value in partition)
    if file.path.rpartition("/")[0] != folder or damage(store, file):
        return False
    known = contract(table)
    unit = [known.unit] if known.unit else []
    ids = id_range(known, pq.read_table(BytesIO(store.read_bytes(file.name)), columns=unit))
    return said in (statistics(file), statistics(replace(file, ids=ids)))


def _is_checkpoint(store: Store, table: str, version: int, here: Sequence[str]) -> bool:
    if checkpoint_is_broken(store, table, version, here):
        return False
    data = BytesIO(store.read_bytes(checkpoint_file(table, version)))
    try:
        return {"add", "metaData", "protocol"} <= set(pq.read_table(data).column_names)
    except (pa.ArrowException, OSError):
        return False


def _said_version(hint: bytes) -> int | None:
    try:
        return int(json.loads(hint)["version"])
    except (ValueError, TypeError, KeyError):
        return None
