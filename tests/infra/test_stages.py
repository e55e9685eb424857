"""The stage protocol: keys, exactly-once with real processes, kills between the transactions."""

import hashlib
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from infra.shards import Tally
from infra.stages import Failure, StageSpec, append_row, commit, commit_rows, find, now, records
from infra.store import Store
from infra.tables import live_files, read
from infra.whole import finished_keys
from schemas.errors import DataError
from schemas.tables import contract
from tests.infra import helpers

ROOT = Path(__file__).resolve().parents[2]


def start(store: Store, name: str, go: Path | None = None, fault: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.infra.helpers", store.url, name, *([str(go)] if go else [])]
    environment = {**os.environ, **({"ADHMR_FAULT_AT": fault} if fault else {})}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def rows(store: Store) -> dict[str, list[dict[str, object]]]:
    return {table: read(store, table).to_pylist() for table in ("scores", "failures")}


def test_key_is_stable_and_counts_what_it_should() -> None:
    base = StageSpec("score", 1, {"a": 1, "b": [2.5]}, reads=("r",), models=("m",))
    config = hashlib.sha256(b'{"a":1,"b":[2.5]}').hexdigest()
    text = f'{{"config":"{config}","models":["m"],"reads":["r"],"round":null,"stage":"score","version":1}}'
    assert base.key == hashlib.sha256(text.encode()).hexdigest()
    assert base.key == StageSpec("score", 1, {"b": [2.5], "a": 1}, ("r",), ("m",), campaign="c", in_round=4).key
    others = [
        StageSpec("pair", 1, base.config, ("r",), ("m",)),
        StageSpec("score", 2, base.config, ("r",), ("m",)),
        StageSpec("score", 1, {"a": 2, "b": [2.5]}, ("r",), ("m",)),
        StageSpec("score", 1, base.config, ("m",), ("r",)),
        StageSpec("score", 1, base.config, ("r",), ("m",), round=1),
    ]
    assert len({base.key, *(other.key for other in others)}) == 6


def test_commit_is_found_and_repeatable(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    first = helpers.run(store)
    before = rows(store)
    assert helpers.run(store) == first == find(store, first.stage_key)
    assert rows(store) == before
    assert first.tally == Tally(ok=7, failed=3)
    assert first.rows == {"scores": 7, "failures": 3}
    assert len(before["scores"]) == 7
    assert [record.stage for record in records(store)] == ["toy"]


def test_a_stage_stands_after_those_that_it_reads_whatever_the_clocks_said(tmp_path: Path) -> None:
    """The clock was set back by a year between each stage and the one that reads it."""
    store, keys = Store.open(tmp_path / "store"), []
    for number, name in enumerate(("first", "second", "third")):
        spec = StageSpec(name, 1, {"of": "clocks"}, reads=tuple(keys[-1:]))
        year = datetime(2026 - number, 1, 1, tzinfo=UTC)
        with mock.patch("infra.stages.now", return_value=year):
            commit_rows(store, spec, {}, started_at=year)
        keys.append(spec.key)
    assert [record.stage for record in records(store)] == ["first", "second", "third"]
    times = [record.finished_at for record in records(store)]
    assert times == sorted(times, reverse=True)


def test_of_a_long_detail_the_beginning_is_kept(tmp_path: Path) -> None:
    store, spec = Store.open(tmp_path / "store"), StageSpec("told", 1, {})
    commit_rows(store, spec, {}, 1, failures=[Failure("a", "long", "0123456789" * 300)])
    assert read(store, "failures").column("detail").to_pylist() == ["0123456789" * 200]


@pytest.mark.slow
def test_processes_that_race_leave_one_set_of_rows(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    go = tmp_path / "go"
    processes = [start(store, name, go) for name in ("toy", "toy", "toy", "other")]
    go.touch()
    keys = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert keys == [helpers.spec("toy").key] * 3 + [helpers.spec("other").key]
    alone = Store.open(tmp_path / "alone")
    helpers.run(alone, "toy")
    for table in ("scores", "failures"):
        mine = pc.field("stage_key") == helpers.spec("toy").key
        assert read(store, table, where=mine).equals(read(alone, table))
        assert len(read(store, table)) == 2 * len(read(alone, table))
    assert len(read(store, "stages")) == 2


@pytest.mark.parametrize("point", ["shard-file:scores@2", "commit:scores", "commit:failures", "commit:stages"])
def test_killed_and_run_again(tmp_path: Path, point: str) -> None:
    store = Store.open(tmp_path / "store")
    process = start(store, "toy", fault=point)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert rows(store) == {"scores": [], "failures": []}  # what is not finished is not seen
    assert find(store, helpers.spec().key) is None
    kept = {path: (Path(store.root) / path).stat().st_ino for path in store.list_files("") if path.endswith(".parquet")}
    assert kept
    helpers.run(store)
    alone = Store.open(tmp_path / "alone")
    helpers.run(alone)
    assert rows(store) == rows(alone)
    # the files that were there are the files that count: nothing finished was done twice
    assert all((Path(store.root) / path).stat().st_ino == inode for path, inode in kept.items())
    for table in ("scores", "failures"):
        assert sum(1 for _ in Path(store.uri("tables", table), "_delta_log").glob("*.json")) == 2


def test_readers_see_no_unfinished_stage(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    helpers.run(store, "done")
    process = start(store, "half", fault="commit:stages")
    process.communicate(timeout=60)
    assert len(DeltaTable(store.uri("tables", "scores")).file_uris()) == 6  # both stages' files are in the table
    assert finished_keys(store) == {helpers.spec("done").key}
    assert set(read(store, "scores").column("stage_key").to_pylist()) == {helpers.spec("done").key}
    assert len(read(store, "scores", stage_keys=[helpers.spec("half").key])) == 0


def test_read_narrows(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    helpers.run(store, "one")
    helpers.run(store, "two")
    narrowed = read(
        store,
        "scores",
        stage_keys=[helpers.spec("two").key],
        where=(pc.field("round") == 2) & (pc.field("score") > 0),
        columns=["instance_id"],
    )
    assert narrowed.column_names == ["instance_id"]
    assert narrowed.column(0).to_pylist() == helpers.IDS[4:7]
    assert len(read(store, "hypotheses")) == 0
    with pytest.raises(DataError, match="no column 'mood'"):
        read(store, "scores", columns=["mood"])
    with pytest.raises(DataError, match="The tables are"):
        read(store, "score")
    with pytest.raises(TypeError, match="collection"):
        read(store, "scores", stage_keys="abc")


def test_counts_must_add_up(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"5 units went in, but 3 ok \+ 0 filtered \+ 1 failed are 4"):
        commit(Store.open(tmp_path / "store"), helpers.spec(), {}, 5, Tally(ok=3, failed=1))


def test_commit_rows(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    stage = StageSpec("pair", 3, {"margin": 0.1}, in_round=2, campaign="c")
    table = helpers.scores(stage.key, helpers.IDS).drop_columns(["stage_key"])
    record = commit_rows(
        store, stage, {"scores": table}, 12, failures=[Failure("x", "odd"), Failure("y", "low", outcome="filtered")]
    )
    assert record.tally == Tally(ok=10, filtered=1, failed=1)
    assert (record.round, record.campaign, record.version) == (2, "c", 3)
    assert set(read(store, "scores").column("stage_key").to_pylist()) == {stage.key}
    assert read(store, "failures").column("reason").to_pylist() == ["odd", "low"]
    assert read(store, "failures").column("attempts").to_pylist() == [1, 1]
    assert store.whole_files(f"shards/{stage.key}") == [f"shards/{stage.key}/00000.json"]
    again = commit_rows(store, stage, {"scores": helpers.scores(stage.key, helpers.IDS, shift=1.0)})
    assert again == record
    with pytest.raises(DataError, match="another stage"):
        commit_rows(store, StageSpec("pair", 4, {}), {"scores": helpers.scores("k", helpers.IDS)})


def test_rows_of_a_killed_commit_are_the_first_ones(tmp_path: Path) -> None:
    """A stage whose numbers differ between attempts: the tables must not mix them."""
    store = Store.open(tmp_path / "store")
    stage = StageSpec("train", 1, {})
    code = (
        "from infra.stages import *; from infra.store import Store; from tests.infra.helpers import *;"
        f"s = StageSpec('train', 1, {{}}); commit_rows(Store.open({store.url!r}), s, {{'scores': scores(s.key, IDS)}},"
        "11, failures=[Failure('x', 'first')])"
    )
    environment = {**os.environ, "ADHMR_FAULT_AT": "commit:scores"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    commit_rows(
        store,
        stage,
        {"scores": helpers.scores(stage.key, helpers.IDS, shift=1.0)},
        11,
        failures=[Failure("x", "second")],
    )
    assert read(store, "failures").column("reason").to_pylist() == ["first"]
    assert read(store, "scores").equals(helpers.scores(stage.key, helpers.IDS))


def test_of_two_rows_with_one_claim_the_first_is_appended(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    claim = {"round:c": 1}
    event = {"campaign": "c", "sequence": 1, "round": 1, "at": now(), "event": "opened", "who": "anyone", "why": ""}
    row = {**dict.fromkeys(contract("rounds").schema.names), **event}
    assert append_row(store, "rounds", row, claim)
    assert not append_row(store, "rounds", row, claim)
    assert len(live_files(store, "rounds")) == 1
