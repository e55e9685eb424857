"""Files of `stages`, `rounds` and `reviews` that are gone, or not as they were written.

A merged file is taken apart again, as long as the files that it was made of are there. Of a campaign's log the newest
event may be forgotten, so that it happens again: nothing else tells what an event was but the note of the version that
added it. An older one, on which later ones rest, has to come back from a copy of the store; so does what people said of
pairs, where a file that was not merged is lost.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from infra.data_files import MANY, DataFile
from infra.delta_log import Entry, log_folder
from infra.intact import damage_once
from infra.log_seals import breaks_seal
from infra.shards import rows_of
from infra.snapshots import newest
from infra.store import Store
from infra.table_rows import read_files
from infra.versions import write_version
from schemas.tables import contract

PROTOCOL = ("stages", "rounds", "reviews")


@dataclass
class _Version:
    """What the log says of the version that added a file."""

    note: str = ""
    claims: dict[str, int] = field(default_factory=dict)
    merged: list[tuple[str, int]] = field(default_factory=list)
    """Paths and sizes of the files that it removed."""


def mend_protocol(store: Store, *, dry_run: bool) -> Iterator[tuple[bool, str]]:
    """Mend these tables as far as that goes; whether each loss was mended, and in words what was, or would be, done."""
    for table in PROTOCOL:
        files = newest(store, table).all
        lost = [file for file in files if damage_once(store, file)]
        versions = _versions(store, table) if lost else {}
        for file in lost:
            version = versions.get(file.path, _Version())
            try:
                if version.merged:
                    yield True, _take_apart(store, file, version, dry_run)
                elif file.stage_key == MANY:  # (the row of one stage is written again with its stage)
                    yield True, _forget(store, file, version, [one for one in files if one not in lost], dry_run)
            except _LeftError as left:
                yield False, f"{file.name} is gone or damaged, {left}: only a copy of the store can bring it back."


class _LeftError(Exception):
    """Why a lost file can't be mended."""


def _take_apart(store: Store, file: DataFile, version: _Version, dry_run: bool) -> str:
    rows_lost = f"with {file.rows} rows, and"
    parts = []
    for path, size in version.merged:
        name = f"tables/{file.table}/{path}"
        rows = rows_of(store, name) if store.sizes([name]).get(name) == size else None
        if rows is None:
            raise _LeftError(f"{rows_lost} so is {path}, a part of it")
        part = DataFile(file.table, path, (), rows, size)
        if problem := damage_once(store, part):
            raise _LeftError(f"{rows_lost} {problem}, a part of it")
        parts.append(part)
    if sum(part.rows for part in parts) != file.rows:
        raise _LeftError(f"{rows_lost} was not made by merging files")
    _replace(store, file, Entry(parts, [file], note="repaired: a merged file was lost", moves=True), dry_run)
    return f"{file.name} is gone: the {len(parts)} files that it was made of take its place again."


def _forget(store: Store, file: DataFile, version: _Version, whole: list[DataFile], dry_run: bool) -> str:
    logs = {name.removeprefix("log:"): place for name, place in version.claims.items() if name.startswith("log:")}
    if file.rows != 1 or len(logs) != 1:
        raise _LeftError(f"with {file.rows} rows")
    ((campaign, place),) = logs.items()
    kept = read_files(store, contract(file.table), whole, columns=["campaign", "sequence"]).to_pylist()
    if any(row["campaign"] == campaign and row["sequence"] > place for row in kept):
        raise _LeftError(f"with the event '{version.note}', on which later ones rest")
    claims = {name: claimed - 1 for name, claimed in version.claims.items()}
    _replace(store, file, Entry(removes=[file], transactions=claims, note="repaired: an event was lost"), dry_run)
    return f"the event '{version.note}' was lost with its file: taken out of the log, it can happen again."


def _replace(store: Store, file: DataFile, entry: Entry, dry_run: bool) -> None:
    """Make the version that takes a lost file out of its table, as long as it is in there."""
    if not dry_run:
        write_version(store, file.table, lambda opened: entry if file in opened.snapshot.all else None)


def _versions(store: Store, table: str) -> dict[str, _Version]:
    """For each file that the log still names, the version that added it first."""
    versions: dict[str, _Version] = {}
    for path in store.whole_files(log_folder(table)):
        if not path.endswith(".json"):
            continue
        version, added = _Version(), []
        entry = store.read_bytes(path)
        for line in () if breaks_seal(entry) else entry.splitlines():
            action = json.loads(line)
            if "commitInfo" in action:
                version.note = action["commitInfo"].get("userMetadata") or ""
            elif "txn" in action:
                version.claims[action["txn"]["appId"]] = int(action["txn"]["version"])
            elif "remove" in action:
                version.merged.append((unquote(action["remove"]["path"]), int(action["remove"]["size"])))
            elif "add" in action:
                added.append(unquote(action["add"]["path"]))
        for one in added:
            versions.setdefault(one, version)
    return versions
