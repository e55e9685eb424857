"""The commits of a store's tables: each is a version of a Delta table and a file of its log that says what it added."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from infra.delta_log import log_entry, note_of
from infra.snapshots import give_back, take_newest
from infra.stages import find
from infra.store import Store
from schemas.tables import TABLES

_NEWEST = 50
"""Versions of a table that are looked through: each is a file to read, perhaps from S3."""


@dataclass(frozen=True)
class Commit:
    """A version of a table. `note` says who made it ("score 0a1b2c3d4e5f"); `uri` is its file in the table's log."""

    table: str
    version: int
    note: str
    uri: str


def commits_of(store: Store, stage_keys: Collection[str]) -> list[Commit]:
    """The commits that these stages made, by table and version, among the newest of each table; of a stage the newest
    of each table that it wrote."""
    wanted: dict[str, set[str]] = {}
    for record in filter(None, (find(store, key) for key in stage_keys)):
        for table in ("stages", *(table for table, rows in record.rows.items() if rows)):
            wanted.setdefault(table, set()).add(record.stage_key[:12])
    commits = [commit for table in TABLES for commit in _newest(store, table, wanted.get(table, set()))]
    return sorted(commits, key=lambda commit: (commit.table, commit.version))


def _newest(store: Store, table: str, beginnings: set[str]) -> Iterator[Commit]:
    """The newest commit of each stage whose key begins so; no entry is read once all are found."""
    opened = take_newest(store, table) if beginnings else None
    if opened is None:
        return
    newest, missing = opened.table.version(), set(beginnings)
    give_back(store, opened)
    for version in range(newest, max(-1, newest - _NEWEST), -1):
        if not missing:
            return
        note = note_of(store, table, version)
        stage = note.rpartition(" ")[2]
        if stage in missing:
            missing.remove(stage)
            yield Commit(table, version, note, store.uri(log_entry(table, version)))
