"""Stages that are finished and whole: what a loss of power takes from a table is noticed by everybody, and put back."""

import logging
import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from infra import whole
from infra.begun import note_begin, unfinished
from infra.delta_log import log_entry
from infra.repair import find_or_mend, repair
from infra.snapshots import newest
from infra.stages import StageSpec, commit_rows, find, records
from infra.store import Store
from infra.tables import live_files, read
from infra.vacuum import vacuum
from infra.views import query, write_views_sql
from infra.whole import finished_keys, torn_stages, whole_keys
from schemas.errors import StoreError
from schemas.tables import build
from tests.infra import helpers

Lose = Callable[[Path], object]
LOSSES: dict[str, Lose] = {
    "gone": Path.unlink,
    "empty": lambda entry: entry.write_bytes(b""),
    "cut at a line": lambda entry: entry.write_bytes(
        re.sub(rb'"sha256":"[0-9a-f]{64}",', b"", b"".join(entry.read_bytes().splitlines(keepends=True)[:2]))
    ),
}
"""What becomes of the newest entry of a log, one without a seal: Delta reads each of them without a word."""
KEY = helpers.spec("lost").key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two stages of two tables each; "lost" is the newer one."""
    store = Store.open(tmp_path_factory.mktemp("made") / "store")
    helpers.run(store, "kept")
    helpers.run(store, "lost")
    return Path(store.root)


@pytest.fixture
def store(tmp_path: Path, made: Path) -> Store:
    shutil.copytree(made, tmp_path / "store")
    return Store.open(tmp_path / "store")


def lose(store: Store, table: str, how: Lose = Path.unlink) -> Store:
    """Harm the newest entry of a table's log, as old versions of the engine let it happen; the store as it is found."""
    snapshot = newest(Store.open(store.url), table)
    how(Path(store.path(log_entry(table, snapshot.version))))
    return Store.open(store.url)


def everything(store: Store) -> dict[str, list[dict[str, object]]]:
    return {table: read(store, table).to_pylist() for table in ("scores", "failures")}


@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("table", ["scores", "failures"])
def test_nobody_takes_what_is_left_for_all(
    store: Store, table: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = helpers.spec("kept").key
    note_begin(store, helpers.spec("lost"), 3, "shards")
    store = lose(store, table, LOSSES[how])
    assert find(store, KEY) is None
    assert finished_keys(store) == whole_keys(store, [KEY, kept]) == {kept}
    assert [record.stage_key for record in records(store)] == [kept]
    assert [one.begun.stage_key for one in unfinished(store)] == [KEY]
    with pytest.raises(StoreError, match=f"Stage lost {KEY[:12]}: {table} has . of . rows.*adhmr repair"):
        read(store, "scores", stage_keys=[KEY])
    with caplog.at_level(logging.WARNING):
        assert {row["stage_key"] for row in everything(store)[table]} == {kept}
    assert f"Left out, as it is not whole: stage lost {KEY[:12]}" in caplog.text
    for other in ("scores", "failures", "stages"):
        assert query(store, f"SELECT DISTINCT stage_key FROM {other}").to_pylist() == [{"stage_key": kept}]
    write_views_sql(store)
    views = store.read_bytes("views.sql").decode()
    assert f"part-{KEY}" not in re.sub(r"VIEW stages AS.*?;", "", views, flags=re.DOTALL)
    assert f"NOT IN ('{KEY}')" in views


def test_each_stage_is_counted_once_in_a_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(whole, "newest", lambda store, table: looked.append(table) or newest(store, table))
    for _ in range(3):
        assert len(finished_keys(store)) == 2
        assert find(store, KEY) is not None
    assert sorted(name for name in looked if name != "stages") == ["failures", "scores"]


def test_a_store_that_was_put_back_from_a_copy_is_counted_again(tmp_path: Path, store: Store) -> None:
    shutil.copytree(store.root, tmp_path / "copy")
    lose(Store.open(tmp_path / "copy"), "scores")
    assert find(store, KEY) is not None
    shutil.rmtree(store.root)
    shutil.copytree(tmp_path / "copy", store.root)
    with pytest.raises(StoreError, match="scores has 0 of 7 rows"):
        read(store, "scores", stage_keys=[KEY])
    assert find(store, KEY) is None


@pytest.mark.parametrize("tables", ["scores", "failures", "scores failures", "scores failures stages"])
@pytest.mark.parametrize(
    ("how", "source"), [*((how, "receipts") for how in LOSSES), ("gone", "names"), ("gone", "nothing")]
)
def test_what_was_lost_is_put_back_or_done_again(store: Store, tables: str, how: str, source: str) -> None:
    before, (record, other) = everything(store), sorted(records(store), key=lambda one: one.stage != "lost")
    for table in tables.split():
        store = lose(store, table, LOSSES[how])
    if source != "receipts":
        store.remove_folder(f"shards/{KEY}")
    if source == "nothing":
        for path in store.list_files("tables"):
            if KEY in path and "/stages/" not in path:
                store.remove(path)
    said: list[str] = []
    found = find_or_mend(store, helpers.spec("lost"), said.append)
    unknown = "stages" in tables and how != "cut at a line"  # then its row is there, and only the mark isn't
    if source == "nothing" or unknown:
        assert found is None
        assert len(said) == (not unknown)
    else:
        assert found == record
        (told,) = said
        assert told.startswith("lost: rows that were lost are put back from its files (lost ")
    again = helpers.run(store, "lost")
    assert (again.rows, again.bytes, again.tally) == (record.rows, record.bytes, record.tally)
    assert everything(store) == everything(Store.open(store.url)) == before
    assert find(store, other.stage_key) == other
    assert torn_stages(store) == []
    assert len(read(store, "stages")) == 2


def test_files_of_another_attempt_do_not_come_back(store: Store) -> None:
    """The shard was made twice, with other rows: what is there does not add up, so nobody chooses."""
    store = lose(store, "scores")
    store.remove_folder(f"shards/{KEY}")
    (old, *_) = [path for path in store.list_files("tables/scores") if KEY in path]
    store.atomic_write(old.replace("x", "x0"), store.read_bytes(old))
    said: list[str] = []
    assert find_or_mend(store, helpers.spec("lost"), said.append) is None
    assert "what is left of it does not add up" in said[0]
    helpers.run(store, "lost")
    assert torn_stages(store) == []


def test_a_stage_that_is_done_again_with_other_rows(tmp_path: Path) -> None:
    """Where numbers differ from time to time: the tables hold the rows of one attempt, and stages speaks of it."""
    store, stage = Store.open(tmp_path / "store"), StageSpec("train", 1, {})
    commit_rows(store, stage, {"scores": helpers.scores(stage.key, helpers.IDS), "curves": curve(stage, 5)})
    store = lose(store, "scores")
    store.remove_folder(f"shards/{stage.key}")
    for path in store.list_files("tables/scores"):
        if path.endswith(".parquet"):
            store.remove(path)
    other = helpers.scores(stage.key, helpers.IDS[:7], shift=1.0)
    record = commit_rows(store, stage, {"scores": other, "curves": curve(stage, 3)})
    assert record == find(store, stage.key)
    assert record.rows == {"scores": 7, "curves": 3}
    assert read(store, "scores", stage_keys=[stage.key]).equals(other)
    assert len(read(store, "curves")) == 3
    assert len(read(store, "stages")) == 1


def curve(stage: StageSpec, steps: int) -> pa.Table:
    points = {"series": ["loss"] * steps, "step": list(range(steps)), "value": [1.0] * steps}
    return build("curves", {"stage_key": [stage.key] * steps, **points})


@pytest.mark.parametrize("how", ["gone", "cut short", "empty"])
def test_a_run_that_meets_a_stage_whose_file_is_gone_does_it_again(store: Store, how: str) -> None:
    before = everything(store)
    file = live_files(store, "scores", stage_keys=[KEY])[0]
    path = Path(store.path(file.name))
    path.unlink() if how == "gone" else path.write_bytes(b"" if how == "empty" else path.read_bytes()[:-7])
    with pytest.raises(StoreError, match=r"has lost a file: .*part-.*adhmr repair"):
        read(store, "scores", stage_keys=[KEY])
    said: list[str] = []
    assert find_or_mend(store, helpers.spec("lost"), said.append) is None
    (told,) = said
    assert told.startswith(f"lost: {file.name} is gone or was changed")
    assert KEY not in finished_keys(store)
    assert {row["stage_key"] for row in everything(store)["scores"]} == {helpers.spec("kept").key}
    assert helpers.run(store, "lost").tally.ok == 7
    assert everything(store) == before
    assert find_or_mend(store, helpers.spec("lost"), said.append) is not None
    assert len(said) == 1


def test_a_row_of_stages_that_can_not_be_read_is_written_again(store: Store) -> None:
    before = everything(store)
    (file,) = [file for file in live_files(store, "stages") if file.stage_key == KEY]
    Path(store.path(file.name)).write_bytes(b"")
    store = Store.open(store.url)
    assert find(store, KEY) is None
    assert str(torn_stages(store)[0]) == f"stage {KEY[:12]}: stages has 0 of 1 rows"
    assert finished_keys(store) == {helpers.spec("kept").key}
    assert len(query(store, "SELECT * FROM stages")) == len(records(store)) == 1
    helpers.run(store, "lost")
    assert torn_stages(store) == []
    assert everything(store) == before


def test_vacuum_takes_nothing_of_a_stage_that_is_not_whole(store: Store) -> None:
    store = lose(store, "scores")
    everything_there = store.list_files("")
    found = vacuum(store, grace=timedelta(0))
    assert not [path for path, _ in found.removed if KEY[:16] in path]
    vacuum(store, grace=timedelta(0), dry_run=False)
    assert [path for path in store.list_files("") if KEY in path] == [path for path in everything_there if KEY in path]
    (mended,) = repair(store)
    assert mended.outcome == "done"
    assert find(store, KEY) is not None
