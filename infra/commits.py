"""The commits of a store's tables: each is a version of a Delta table and a file of its log that says what it added."""

from collections.abc import Collection
from dataclasses import dataclass

from infra.delta_log import log_entry
from infra.snapshots import open_table
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
    """The commits that these stages made, by table and version, among the newest of each table."""
    beginnings = {key[:12] for key in stage_keys}
    commits = []
    for table in TABLES:
        opened = open_table(store, table)
        for entry in opened.history(limit=_NEWEST) if opened is not None else ():
            note, version = str(entry.get("userMetadata") or ""), int(entry["version"])
            if note.rpartition(" ")[2] in beginnings:
                commits.append(Commit(table, version, note, store.uri(log_entry(table, version))))
    return sorted(commits, key=lambda commit: (commit.table, commit.version))
