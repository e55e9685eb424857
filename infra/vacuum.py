"""Vacuum: remove what no table refers to and nobody is still working on.

Candidates are data files that stand in no version of their table, receipts of shards, plans of ingests, checkpoints of
trainings, notes of begun stages, and temporary files of writers that died. All must be older than the grace period; and
as long as one file of an unfinished stage is younger, all of that stage's files stay, since a run may be about to go on
with them. Whatever a stage has left that is finished and not whole stays: it may be repaired from it.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from infra.log_seals import breaks_seal
from infra.store import TEMPORARY, Store
from infra.tables import finished_keys, live_files, open_table
from infra.whole import torn_stages
from schemas.errors import DamagedError
from schemas.tables import TABLES

_BEGINNING = 16
"""Digits of a stage's key by which plans of ingests and folders of trainings are called."""


@dataclass(frozen=True)
class VacuumReport:
    """What was removed, or would be if `dry_run`: paths below the store's root with the reason, and bytes in all."""

    removed: tuple[tuple[str, str], ...]
    bytes: int
    dry_run: bool


def vacuum(store: Store, *, grace: timedelta = timedelta(days=7), dry_run: bool = True) -> VacuumReport:
    """Find (and unless `dry_run` remove) leftovers older than `grace`."""
    oldest_kept = datetime.now(UTC) - grace
    finished = finished_keys(
        store
    )  # before the listing: a stage that finishes meanwhile counts as unfinished, and stays
    found: list[tuple[str, str]] = []
    unfinished: dict[str, list[tuple[str, str]]] = defaultdict(list)
    # kept like those of which a file is young, however old theirs are
    young_stages = {torn.stage_key[:_BEGINNING] for torn in torn_stages(store)}
    for path in store.list_files(""):
        reason, owner = _leftover(path, finished)
        if reason:
            old = _is_older(store, path, oldest_kept)
            if owner is None:
                found.extend([(path, reason)] if old else [])
            else:
                unfinished[owner].append((path, reason))
                if not old:
                    young_stages.add(owner)
    for table in TABLES:
        referenced = _referenced(store, table)
        for path in store.list_files(f"tables/{table}"):
            name = path.rsplit("/", 1)[-1]
            if "/_delta_log/" in path or name.startswith(TEMPORARY) or path in referenced:
                continue
            owner = name.split("-")[1] if name.startswith("part-") else "?"
            if owner in finished or owner == "log":
                if _is_older(store, path, oldest_kept):
                    found.append((path, "in no version of its table"))
                continue
            unfinished[owner[:_BEGINNING]].append((path, "written by a stage that never finished"))
            if not _is_older(store, path, oldest_kept):
                young_stages.add(owner[:_BEGINNING])
    for owner, files in unfinished.items():
        if owner not in young_stages:
            found.extend(files)
    # receipts and plans first: a run that starts in the middle must not meet one whose files are gone
    found.sort(key=lambda item: (not item[0].startswith("shards/") and not item[0].endswith("/plan.json"), item[0]))
    size = sum(_size(store, path) for path, _ in found)
    if not dry_run:
        for path, _ in found:
            store.remove(path)
    return VacuumReport(tuple(found), size, dry_run)


def _is_older(store: Store, path: str, than: datetime) -> bool:
    """Whether a file was last written before a moment; False for one that a live run took away since it was listed."""
    try:
        return store.modified(path) < than
    except FileNotFoundError:
        return False


def _size(store: Store, path: str) -> int:
    try:
        return store.size(path)
    except FileNotFoundError:
        return 0


def _leftover(path: str, finished: set[str]) -> tuple[str, str | None]:
    """Why a file may be a leftover ("" if it is none), and the unfinished stage that it belongs to."""
    if path.rsplit("/", 1)[-1].startswith(TEMPORARY):
        return "temporary file of a writer that died", None
    if path.startswith("shards/"):
        key = path.split("/")[1]
        return (
            ("receipt of a finished stage", None)
            if key in finished
            else (
                "receipt of an unfinished stage",
                key[:_BEGINNING],
            )
        )
    if path.startswith("begun/"):
        key = path.split("/")[1].removesuffix(".json")
        if key in finished:
            return "note of a finished stage", None
        return "note of an unfinished stage", key[:_BEGINNING]
    for folder, kind in (("ingests/", "plan of {} ingest"), ("ray/", "file of {} training")):
        if path.startswith(folder):
            begin = path.split("/")[1].rpartition("-")[2]
            done = any(key.startswith(begin) for key in finished)
            return (kind.format("a finished"), None) if done else (kind.format("an unfinished"), begin)
    return "", None


def _referenced(store: Store, table: str) -> set[str]:
    """Paths of all files that some version of the table knows: the newest, and every one that is still logged."""
    opened = open_table(store, table)
    if opened is None:
        return set()
    known = {f"tables/{table}/{file.path}" for file in live_files(store, table, every_stage=True)}
    for log in store.list_files(f"tables/{table}/_delta_log"):
        if not log.endswith(".json"):
            continue
        entry = store.read_bytes(log)
        if breaks_seal(entry):
            raise DamagedError(
                f"{store.uri(log)} is not as it was written, so it can't be told which files are still needed: nothing "
                "was removed. `adhmr repair` mends what can be mended."
            )
        for line in entry.splitlines():
            added = json.loads(line).get("add") if line.strip() else None
            if added:
                known.add(f"tables/{table}/{unquote(added['path'])}")
    return known
