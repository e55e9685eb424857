"""Commits of a store's tables, found by the stages that made them."""

import json
from pathlib import Path

from infra.commits import commits_of
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
