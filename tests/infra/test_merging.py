"""`stages` and `rounds` stay in few files, and nothing that they say is lost by it, whoever writes or dies then."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra import faults, merging, rounds
from infra.data_files import MANY
from infra.delta_log import CHECKPOINT_EVERY, log_folder, versions_of
from infra.merging import MERGED_FROM, merge_if_due
from infra.repair import find_or_mend, retire
from infra.snapshots import open_table
from infra.stages import StageSpec, commit_rows, find, records
from infra.store import Store
from infra.tables import live_files, read
from infra.views import query
from infra.whole import finished_keys, stage_rows, torn_stages

ROOT = Path(__file__).resolve().parents[2]


def spec(number: int) -> StageSpec:
    return StageSpec("toy", 1, {"number": number})


def commit(store: Store, number: int) -> None:
    commit_rows(store, spec(number), {})


def numbers(store: Store) -> list[int]:
    found = sorted(record.config["number"] for record in records(store))
    assert {spec(number).key for number in found} == finished_keys(store)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_a_long_history_is_in_few_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "FULL_ROWS", 20)
    count = 50
    for number in range(count):
        commit(store, number)
        assert len(live_files(store, "stages")) <= MERGED_FROM - 1 + number // 20
    fresh = Store.open(store.url)
    assert numbers(fresh) == numbers(store) == list(range(count))
    files = live_files(fresh, "stages")
    assert sum(file.rows for file in files) == count
    assert sum(file.stage_key == MANY for file in files) >= 2
    assert all(find(fresh, spec(number).key) == find(store, spec(number).key) for number in range(count))
    assert query(fresh, "SELECT count(DISTINCT stage_key) AS n FROM stages").to_pylist() == [{"n": count}]
    log = fresh.list_files(log_folder("stages"))
    newest = versions_of(log, ".json")[-1]
    assert newest - versions_of(log, ".checkpoint.parquet")[-1] < CHECKPOINT_EVERY
    # and each may be committed once, as before
    opened = open_table(fresh, "stages")
    assert opened is not None
    assert {opened.transaction_version(spec(number).key) for number in range(count)} == {1}
    commit(fresh, 3)
    assert numbers(fresh) == list(range(count))


def test_the_log_of_a_campaign_is_merged_as_well(store: Store) -> None:
    rounds.begin(store, "c", "p0")
    for number in range(1, 21):
        rounds.open_round(store, "c", number)
        rounds.promote(store, "c", number, f"p{number}", "better")
        rounds.close_round(store, "c", number)
    fresh = Store.open(store.url)
    assert len(live_files(fresh, "rounds")) < MERGED_FROM
    told = rounds.history(fresh, "c").to_pylist()
    assert [row["sequence"] for row in told] == list(range(1, 62))
    assert [row["policy"] for row in told if row["event"] == "promoted"] == [f"p{number}" for number in range(21)]
    assert (rounds.state(fresh, "c").policy, rounds.state(fresh, "c").next_round) == ("p20", 21)
    assert not rounds.open_round(fresh, "c", 20)
    assert rounds.roll_back(fresh, "c", "p3", "")


DIES = """
import sys
from infra.store import Store
from tests.infra.test_merging import commit
for number in range(20):
    commit(Store.open(sys.argv[1]), number)
"""


@pytest.mark.parametrize("point", ["merge:stages", "merge:stages@2", "checkpoint:stages"])
def test_killed_while_it_is_tidied(store: Store, point: str) -> None:
    died = subprocess.run(
        [sys.executable, "-c", DIES, store.url], cwd=ROOT, env={**os.environ, "ADHMR_FAULT_AT": point}, check=False
    )
    assert died.returncode == -signal.SIGKILL
    there = numbers(store)
    assert there == list(range(len(there)))
    assert len(there) >= MERGED_FROM
    for number in range(30):
        commit(store, number)
    assert numbers(Store.open(store.url)) == list(range(30))
    assert len(live_files(store, "stages")) < MERGED_FROM


@pytest.mark.parametrize("what", ["another merges first", "another adds a row", "a row is withdrawn"])
def test_others_write_while_files_are_merged(store: Store, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(merging, "MERGED_FROM", 100)
    for number in range(10):
        commit(store, number)
    monkeypatch.setattr(merging, "MERGED_FROM", 8)
    other, met = Store.open(store.url), []
    work: dict[str, Callable[[], object]] = {
        "another merges first": lambda: merge_if_due(other, "stages"),
        "another adds a row": lambda: commit(other, 10),
        "a row is withdrawn": lambda: retire(other, spec(4).key),
    }

    def reach(point: str) -> None:
        if point == "merge:stages" and not met:
            met.append(point)
            work[what]()

    monkeypatch.setattr(faults, "reach", reach)
    # (a row that another one adds makes it merge as well)
    assert merge_if_due(store, "stages") == (what == "nothing")
    assert met
    expected = {"another adds a row": range(11), "a row is withdrawn": [0, 1, 2, 3, 5, 6, 7, 8, 9]}
    assert numbers(Store.open(store.url)) == list(expected.get(what, range(10)))
    assert len([path for path in store.list_files("tables/stages") if f"part-{MANY}" in path]) <= 1


def test_many_that_commit_and_merge_at_once_lose_no_stage(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda which: [commit(store, 10 * which + n) for n in range(6)], range(4)))
    expected = sorted(10 * which + n for which in range(4) for n in range(6))
    assert numbers(store) == numbers(Store.open(store.url)) == expected


def test_a_stage_in_a_merged_file_is_retired_and_done_again(store: Store) -> None:
    for number in range(MERGED_FROM):
        commit(store, number)
    (merged,) = live_files(store, "stages")
    assert merged.stage_key == MANY
    retire(store, spec(3).key)
    assert find(store, spec(3).key) is None
    assert numbers(store) == numbers(Store.open(store.url)) == [n for n in range(MERGED_FROM) if n != 3]
    assert find_or_mend(store, spec(3), lambda text: None) is None
    commit(store, 3)
    assert numbers(Store.open(store.url)) == list(range(MERGED_FROM))
    assert torn_stages(store) == []


def test_a_row_that_can_not_be_read_stays_out_of_what_is_merged(store: Store) -> None:
    for number in range(5):
        commit(store, number)
    lost = next(row.file for row in stage_rows(store).recorded([spec(2).key]))
    Path(store.path(lost.name)).write_bytes(b"")
    store = Store.open(store.url)
    for number in range(5, 20):
        commit(store, number)
    assert numbers(Store.open(store.url)) == [n for n in range(20) if n != 2]
    commit(store, 2)
    assert numbers(Store.open(store.url)) == list(range(20))
    assert len(read(store, "stages")) == 20
