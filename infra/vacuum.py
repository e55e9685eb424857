"""Vacuum: remove what no table refers to and no run is working on.

Candidates are data files that are in no version of their table, receipts of shards, plans of ingests, checkpoints of
trainings, notes of begun stages, and temporary files of writers that died. All must be older than the grace period, by
the store's own clock. Nothing is taken of an unfinished stage while a run works on it (`infra.at_work`), whatever
the grace period; and as long as one of its files is younger, all of them stay, since a run may be about to go on with
them. Whatever a stage has left that is finished and not whole stays: it may be repaired from it.
"""

import json
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from infra.at_work import AtWork, at_work
from infra.begun import notes
from infra.data_files import MANY
from infra.snapshots import open_table
from infra.store import TEMPORARY, Store
from infra.tables import live_files
from infra.whole import finished_keys, torn_stages
from schemas.tables import TABLES

_BEGINNING = 16
"""Digits of a stage's key by which plans of ingests and folders of trainings are called."""
_KINDS = {
    "shards": "receipt of {} stage",
    "begun": "note of {} stage",
    "ingests": "plan of {} ingest",
    "ray": "file of {} training",
}
"""What the files are that stages leave beside the tables, by folder."""
_IN_FLIGHT = timedelta(hours=1)
"""A temporary file may get its name for so long, and while a run is at work, what no table refers to its place in
one. Both take seconds."""


@dataclass(frozen=True)
class VacuumReport:
    """What was removed, or would be if `dry_run`: paths below the store's root with the reason, and bytes in all."""

    removed: tuple[tuple[str, str], ...]
    bytes: int
    dry_run: bool


@dataclass(frozen=True)
class _Leftover:
    """A file that may not be needed any more. `owner` is the unfinished stage that it is of, by its key's beginning."""

    path: str
    reason: str
    owner: str | None = None


def vacuum(store: Store, *, grace: timedelta = timedelta(days=7), dry_run: bool = True) -> VacuumReport:
    """Find (and unless `dry_run` remove) leftovers older than `grace`."""
    now = datetime.now(UTC) if dry_run else store.clock()  # a look writes nothing
    # in this order: the writer of a file of the list is at work now, or has committed it by the time that the tables
    # are read, or is gone
    listed = store.list_files("")
    working = at_work(store, now)
    leftovers = _leftovers(store, listed)
    young = {one.owner for one in leftovers if one.owner and not _is_older(store, one.path, now - grace)}
    torn = {stage.stage_key[:_BEGINNING] for stage in torn_stages(store)}
    spared = young | torn | _worked_on(store, leftovers, working)

    def may_go(one: _Leftover) -> bool:
        if one.owner:
            return one.owner not in spared
        in_flight = working.is_any or _is_temporary(one.path)
        return _is_older(store, one.path, now - (max(grace, _IN_FLIGHT) if in_flight else grace))

    removed = [one for one in leftovers if may_go(one)]
    # receipts and plans first: a run that starts in the middle must not meet one whose files are gone
    removed.sort(key=lambda one: (not one.path.startswith("shards/") and not one.path.endswith("/plan.json"), one.path))
    if not dry_run:
        spared = _worked_on(store, removed, at_work(store, now))  # once more: a run may have begun meanwhile
        removed = [one for one in removed if one.owner not in spared]
    size = sum(_size(store, one.path) for one in removed)
    if not dry_run:
        for one in removed:
            store.remove(one.path)
    return VacuumReport(tuple((one.path, one.reason) for one in removed), size, dry_run)


def _leftovers(store: Store, listed: list[str]) -> list[_Leftover]:
    """All that may be one, of any age."""
    finished = {key[:_BEGINNING] for key in finished_keys(store)}
    leftovers = [one for path in listed if (one := _beside_the_tables(path, finished)) is not None]
    files: dict[str, list[str]] = defaultdict(list)
    for path in listed:
        if path.startswith("tables/") and "/_delta_log/" not in path and not _is_temporary(path):
            files[path.split("/")[1]].append(path)
    for table in TABLES:
        referenced = _referenced(store, table)
        for path in files[table]:
            if path in referenced:
                continue
            name = path.rsplit("/", 1)[-1]
            owner = name.split("-")[1][:_BEGINNING] if name.startswith("part-") else "?"
            if owner in finished or owner == MANY:
                leftovers.append(_Leftover(path, "in no version of its table"))
            else:
                leftovers.append(_Leftover(path, "written by a stage that never finished", owner))
    return leftovers


def _worked_on(store: Store, leftovers: list[_Leftover], working: AtWork) -> set[str]:
    """The unfinished stages that a run may be working on: by their notes, or else any if a campaign is held."""
    if not working.is_any:
        return set()
    campaigns = {note.stage_key[:_BEGINNING]: note.campaign for note in notes(store)}
    begun = {key[:_BEGINNING] for key in working.stages}

    def is_worked_on(owner: str) -> bool:
        campaign = campaigns.get(owner)
        return owner in begun or (bool(working.campaigns) if campaign is None else campaign in working.campaigns)

    return {one.owner for one in leftovers if one.owner and is_worked_on(one.owner)}


def _is_older(store: Store, path: str, than: datetime) -> bool:
    """Whether a file was last written up to a moment; False for one that a live run took away since it was listed."""
    try:
        return store.modified(path) <= than
    except FileNotFoundError:
        return False


def _size(store: Store, path: str) -> int:
    try:
        return store.size(path)
    except FileNotFoundError:
        return 0


def _is_temporary(path: str) -> bool:
    return path.rsplit("/", 1)[-1].startswith(TEMPORARY)


def _beside_the_tables(path: str, finished: Collection[str]) -> _Leftover | None:
    """What a file is a leftover of, if it is one and no table's; `finished` are beginnings of keys."""
    if _is_temporary(path):
        return _Leftover(path, "temporary file of a writer that died")
    folder, _, rest = path.partition("/")
    if folder not in _KINDS:
        return None
    # <key>/..., <key>.json, or <name>-<beginning of the key>/...
    owner = rest.partition("/")[0].removesuffix(".json").rpartition("-")[2][:_BEGINNING]
    if owner in finished:
        return _Leftover(path, _KINDS[folder].format("a finished"))
    return _Leftover(path, _KINDS[folder].format("an unfinished"), owner)


def _referenced(store: Store, table: str) -> set[str]:
    """Paths of all files that some version of the table knows: the newest, and every one that is still logged."""
    opened = open_table(store, table)
    if opened is None:
        return set()
    paths = {f"tables/{table}/{file.path}" for file in live_files(store, table, every_stage=True)}
    for log in store.list_files(f"tables/{table}/_delta_log"):
        if not log.endswith(".json"):
            continue
        for line in store.read_bytes(log).splitlines():
            with suppress(ValueError):  # damaged, but older than the checkpoint: newer entries were looked at by now
                added = json.loads(line).get("add")
                if added:
                    paths.add(f"tables/{table}/{unquote(added['path'])}")
    return paths
