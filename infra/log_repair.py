"""Logs of tables that a loss of power, or a damaged disk, has left in a state that nobody can read.

Versions of the engine before this one synced no entry of a log; one that is empty, torn or gone keeps the whole table
from being opened, or reads as if nothing had been written. Of an entry in which bits have flipped, what it adds is
kept as far as the files bear it out. Whatever can't be read is put aside, under `damaged/`, and
an entry with the lines that are whole takes its place. What an entry had said of a stage is then missing in its table:
the stage isn't whole, and is repaired as such.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from infra import intact
from infra.data_files import DataFile
from infra.delta_log import Entry, checkpoint_file, first_entry, log_entry, log_folder, versions_of
from infra.log_seals import breaks_seal, sealed_lines, unsealed
from infra.store import Store
from schemas.tables import TABLES, contract

ASIDE = "damaged"
_CHECKPOINT, _ENTRY, _HINT = ".checkpoint.parquet", ".json", "_last_checkpoint"
_ACTIONS = {"add", "remove", "txn", "metaData", "protocol", "commitInfo"}


@dataclass(frozen=True)
class LogDamage:
    """A file of a log that is not as it was written. `instead` takes its place; None: nothing does."""

    path: str
    what: str
    instead: bytes | None

    def __str__(self) -> str:
        kept = "" if self.instead is None else "; an entry with what can be read of it takes its place"
        return f"{self.path} {self.what}{kept}"


def mend_logs(store: Store, *, dry_run: bool = False) -> list[LogDamage]:
    """Put aside what is damaged in the logs of all tables, so that they can be opened; what was, or would be, done."""
    found = [damage for table in TABLES for damage in _damages(store, table)]
    for damage in () if dry_run else found:
        if store.exists(damage.path):
            store.atomic_write(f"{ASIDE}/{damage.path}", store.read_bytes(damage.path))
        if damage.instead is None:
            store.remove(damage.path)
        else:
            store.atomic_write(damage.path, damage.instead)
    return found


def _damages(store: Store, table: str) -> list[LogDamage]:
    """In the order in which they are to be mended: killed in between, what is left is found again."""
    here = store.whole_files(log_folder(table))
    entries = versions_of(here, _ENTRY)
    bad = [v for v in versions_of(here, _CHECKPOINT) if not _is_checkpoint(store, checkpoint_file(table, v))]
    good = [v for v in versions_of(here, _CHECKPOINT) if v not in bad]
    found = [LogDamage(checkpoint_file(table, v), "is no checkpoint that can be read", None) for v in bad]
    hint = f"{log_folder(table)}/{_HINT}"
    if hint in here and _said_version(store.read_bytes(hint)) not in good:
        found.append(LogDamage(hint, "names no checkpoint that can be read", None))
    start = max(good, default=-1)
    for version in range(start + 1, max(entries, default=start) + 1):
        path = log_entry(table, version)
        if version not in entries:
            found.append(LogDamage(path, "is not there, though later ones are", _entry_of(table, version, [])))
            continue
        data = store.read_bytes(path)
        lines, torn = _whole_lines(data)
        if not torn and breaks_seal(data):
            kept = [line for line in lines if "add" not in line or _holds(store, table, line["add"])]
            found.append(LogDamage(path, "is not as it was written", _entry_of(table, version, kept)))
        elif torn:
            found.append(LogDamage(path, torn, _entry_of(table, version, lines)))
        elif version == 0 and not {"protocol", "metaData"} <= {name for line in lines for name in line}:
            found.append(LogDamage(path, "does not make the table", _entry_of(table, version, lines)))
    return found


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


def _holds(store: Store, table: str, add: dict[str, Any]) -> bool:
    """Whether a file is there as a line says that adds it, although something in its entry isn't as it was written."""
    try:
        partition = tuple((str(name), str(value)) for name, value in add["partitionValues"].items())
        rows = int(json.loads(add["stats"])["numRecords"])
        file = DataFile(table, unquote(add["path"]), partition, rows, int(add["size"]))
        return not intact.damage(store, file)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _entry_of(table: str, version: int, lines: Sequence[dict[str, Any]]) -> bytes:
    """An entry with these lines, as far as they are whole in themselves; the first one makes the table as well."""
    said = [line for line in lines if "add" in line or "remove" in line or "txn" in line]
    if version == 0:
        begin = first_entry(contract(table))
    else:
        begin = Entry(note="repaired: what can't be read of it was put aside").to_bytes()
    return sealed_lines([*unsealed(begin), *said])


def _is_checkpoint(store: Store, path: str) -> bool:
    try:
        return {"add", "metaData", "protocol"} <= set(pq.read_table(BytesIO(store.read_bytes(path))).column_names)
    except (pa.ArrowException, OSError):
        return False


def _said_version(hint: bytes) -> int | None:
    try:
        return int(json.loads(hint)["version"])
    except (ValueError, TypeError, KeyError):
        return None
