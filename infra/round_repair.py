"""Events of a campaign's log whose file is gone: the newest of a campaign may be forgotten, so that it happens again.

Nothing else tells what an event was but the note of the version that added it. An older one, on which later ones rest,
has to come back from a copy of the store.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from infra.data_files import DataFile
from infra.delta_log import Entry, log_folder
from infra.snapshots import Opened, newest
from infra.store import Store
from infra.table_rows import read_files
from infra.versions import write_version
from schemas.tables import contract

TABLE = "rounds"
_COPY = "only a copy of the store can bring it back"


def lost_events(store: Store, *, dry_run: bool) -> Iterator[tuple[bool, str]]:
    """Forget the events that can be; whether each was, and in words what was, or would be, done."""
    snapshot = newest(store, TABLE)
    files = snapshot.of() if snapshot is not None else []
    sizes = store.sizes([file.name for file in files])
    lost = [file for file in files if sizes.get(file.name) != file.size]
    if not lost:
        return
    kept = read_files(store, contract(TABLE), [file for file in files if file not in lost]).to_pylist()
    entries = _entries(store)
    for file in lost:
        note, claims = entries.get(file.path, ("", {}))
        campaign, number = next(
            ((name.removeprefix("log:"), place) for name, place in claims.items() if name.startswith("log:")), ("", 0)
        )
        if file.rows != 1 or not campaign:
            yield False, f"{file.name} is gone, with {file.rows} events of campaigns: {_COPY}."
        elif any(row["campaign"] == campaign and row["sequence"] > number for row in kept):
            yield False, f"{file.name} is gone, with the event '{note}', on which later ones rest: {_COPY}."
        else:
            if not dry_run:
                _forget(store, file, {name: place - 1 for name, place in claims.items()})
            yield True, f"the event '{note}' was lost with its file: taken out of the log, the next run repeats it."


def _forget(store: Store, file: DataFile, claims: dict[str, int]) -> None:
    def follow(opened: Opened) -> Entry | None:
        if file not in opened.snapshot.of():
            return None
        return Entry(removes=[file], transactions=claims, note="repaired: an event was lost")

    write_version(store, TABLE, follow)


def _entries(store: Store) -> dict[str, tuple[str, dict[str, int]]]:
    """For each file that the log tells of: the note, and the claims, of the version that added it."""
    found: dict[str, tuple[str, dict[str, int]]] = {}
    for path in store.whole_files(log_folder(TABLE)):
        if not path.endswith(".json"):
            continue
        lines: list[dict[str, Any]] = [json.loads(line) for line in store.read_bytes(path).splitlines()]
        note = next((line["commitInfo"].get("userMetadata") or "" for line in lines if "commitInfo" in line), "")
        claims = {line["txn"]["appId"]: int(line["txn"]["version"]) for line in lines if "txn" in line}
        found |= {unquote(line["add"]["path"]): (note, claims) for line in lines if "add" in line}
    return found
