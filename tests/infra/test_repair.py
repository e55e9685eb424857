"""`repair` mends what needs no guess, says what is left and how to cure it, and touches nothing that is whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra import rounds
from infra.delta_log import log_entry
from infra.log_repair import ASIDE
from infra.merging import MERGED_FROM
from infra.repair import Finding, open_logs, repair
from infra.snapshots import newest
from infra.stages import StageSpec, commit_rows, find
from infra.store import Store
from infra.tables import live_files, read
from infra.whole import finished_keys
from schemas.errors import StoreError
from tests.infra import helpers

KEY = helpers.spec("toy").key


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "store")
    helpers.run(made)
    rounds.begin(made, "c", "p0")
    rounds.open_round(made, "c", 1, "dpo round")
    return made


def newest_entry(store: Store, table: str) -> Path:
    snapshot = newest(store, table)
    return Path(store.path(log_entry(table, snapshot.version)))


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def everything(store: Store) -> dict[str, bytes]:
    return {path: store.read_bytes(path) for path in store.list_files("")}


def outcomes(found: list[Finding]) -> list[str]:
    return [finding.outcome for finding in found]


def test_what_is_whole_is_not_touched(store: Store) -> None:
    before = everything(store)
    assert repair(store) == []
    assert repair(store, dry_run=True) == []
    assert everything(store) == before


DAMAGE: dict[str, Callable[[Store], object]] = {
    "a torn entry": lambda store: tear(newest_entry(store, "scores")),
    "a lost entry": lambda store: newest_entry(store, "failures").unlink(),
    "an empty entry": lambda store: newest_entry(store, "scores").write_bytes(b""),
    "a receipt": lambda store: Path(store.path(f"shards/{KEY}/00001.json")).write_bytes(b"{"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_dry_run_only_says_and_a_second_run_finds_nothing(store: Store, what: str) -> None:
    rows = read(store, "scores")
    DAMAGE[what](store)
    damaged = everything(store)
    planned = repair(Store.open(store.url), dry_run=True)
    assert everything(store) == damaged
    assert planned
    found = repair(Store.open(store.url))
    assert set(outcomes(found)) == {"done"}
    assert repair(Store.open(store.url)) == []
    assert find(Store.open(store.url), KEY) is not None
    assert read(Store.open(store.url), "scores").equals(rows)
    assert [path for path in everything(store) if path.startswith(ASIDE)] == (
        [f"{ASIDE}/{log_entry('scores', 1)}"] if what in ("a torn entry", "an empty entry") else []
    )


def test_a_run_begins_with_logs_that_can_be_opened(store: Store) -> None:
    tear(newest_entry(store, "rounds"))
    fresh = Store.open(store.url)
    with pytest.raises(StoreError, match="adhmr repair"):
        rounds.state(fresh, "c")
    said: list[str] = []
    open_logs(fresh, said.append)
    (told,) = said
    assert told.startswith(f"WARNING: {log_entry('rounds', 2)} is torn")
    assert rounds.state(fresh, "c").is_open  # only the last line was lost, the event wasn't
    open_logs(fresh, said.append)
    assert len(said) == 1


def test_what_does_not_add_up_is_left_to_the_next_run(store: Store) -> None:
    newest_entry(store, "scores").unlink()
    store.remove_folder(f"shards/{KEY}")
    store.remove(next(path for path in store.list_files("tables/scores") if KEY in path))
    (left,) = repair(Store.open(store.url))
    assert left.outcome == "left"
    said = f"toy {KEY[:12]}: scores has 0 of 7 rows; what is left of it does not add up. The next run that needs it"
    assert left.text == f"{said} does it again."


def test_files_that_are_gone_are_named_with_their_cure(store: Store) -> None:
    first, second = live_files(store, "scores")[:2]
    Path(store.path(first.name)).unlink()
    Path(store.path(second.name)).write_bytes(b"x")
    found = repair(store)
    assert outcomes(found) == ["left", "left"]
    assert found[0].text.startswith(f"{first.name} is not there. Put it back from a copy, or: ")
    assert found[1].text.startswith(f"{second.name} has 1 bytes instead of {second.size}. ")
    assert finished_keys(store) == {KEY}


def event_file(store: Store, event: str) -> Path:
    """The file of a campaign's event, from the log."""
    for version in range(1, 10):
        text = store.read_bytes(log_entry("rounds", version)).decode()
        if event in text:
            return Path(store.path("tables", "rounds", text.split('"path":"')[1].split('"')[0]))
    raise AssertionError(event)


def test_the_newest_event_happens_again(store: Store) -> None:
    event_file(store, "c 1 opened").unlink()
    with pytest.raises(StoreError, match=r"Table rounds .* has lost a file: .*adhmr repair"):
        rounds.state(store, "c")
    (done,) = repair(store)
    assert done.outcome == "done"
    assert "the event 'c 1 opened' was lost" in done.text
    assert not rounds.state(store, "c").is_open
    assert rounds.open_round(store, "c", 1, "dpo round")  # its claims are free again
    assert [event.event for event in rounds.state(store, "c").events] == ["promoted", "opened"]


def test_an_older_event_has_to_come_back(store: Store) -> None:
    lost = event_file(store, "c 0 promoted")
    data = lost.read_bytes()
    lost.unlink()
    (left,) = repair(store)
    assert (left.outcome, "on which later ones rest: only a copy" in left.text) == ("left", True)
    lost.write_bytes(data)
    assert repair(store) == []
    assert rounds.state(store, "c").policy == "p0"


@pytest.mark.parametrize("parts_are_there", [True, False])
def test_a_merged_file_that_is_lost_is_taken_apart(store: Store, parts_are_there: bool) -> None:
    for number in range(MERGED_FROM):
        commit_rows(store, StageSpec("small", 1, {"number": number}), {})
    keys = finished_keys(store)
    merged = next(file for file in live_files(store, "stages") if file.rows > 1)
    Path(store.path(merged.name)).unlink()
    if not parts_are_there:
        store.remove(next(path for path in store.list_files("tables/stages") if KEY in path))
    fresh = Store.open(store.url)
    with pytest.raises(StoreError, match=r"Table stages .* has lost a file"):
        finished_keys(fresh)
    found = repair(fresh)
    assert outcomes(found) == (["done"] if parts_are_there else ["left", "left"])
    if parts_are_there:
        assert finished_keys(fresh) == finished_keys(Store.open(store.url)) == keys
        commit_rows(fresh, StageSpec("small", 1, {"number": 99}), {})
        assert len(finished_keys(Store.open(store.url))) == len(keys) + 1
