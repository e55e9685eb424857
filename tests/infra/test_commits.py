"""Commits of a store's tables, found by the stages that made them."""

import json
from pathlib import Path

import pytest

from infra.commits import commits_of
from infra.delta_log import log_entry
from infra.store import Store
from tests.infra import helpers


def test_each_commit_names_its_stage_and_its_log(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    one, _ = helpers.run(store, "one"), helpers.run(store, "two")
    found = commits_of(store, [one.stage_key])
    assert [commit.table for commit in found] == ["failures", "scores", "stages"]
    for commit in found:
        assert commit.note == f"one {one.stage_key[:12]}"
        actions = [json.loads(line) for line in Path(commit.uri).read_text().splitlines()]
        added = [action["add"]["path"] for action in actions if "add" in action]
        assert added
        assert all(one.stage_key in path for path in added)
    assert commits_of(store, []) == []


def test_no_more_is_read_than_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the logs of tables that the stage didn't write, nor entries before its own."""
    store = Store.open(tmp_path / "store")
    helpers.run(store, "one")
    two = helpers.run(store, "two")
    found = commits_of(store, [two.stage_key])
    other = Path(store.uri(log_entry("curves", 0)))
    other.parent.mkdir(parents=True)
    other.write_text("no log\n")
    read, before = list[str](), Store.read_bytes

    def reading(self: Store, path: str) -> bytes:
        read.append(path)
        return before(self, path)

    monkeypatch.setattr(Store, "read_bytes", reading)
    assert commits_of(store, [two.stage_key]) == found
    entries = [path for path in read if "_delta_log" in path]
    assert sorted(entries) == sorted(log_entry(commit.table, commit.version) for commit in found)
