"""What `adhmr repair` does about damage that no size tells: a flipped bit is turned back, other damage is put aside."""

from pathlib import Path

import pyarrow as pa
import pytest

from infra import rounds
from infra.delta_log import CHECKPOINT_EVERY, checkpoint_file, log_entry, log_folder, versions_of
from infra.flipped import MOST_BYTES, turned_back
from infra.intact import damage
from infra.log_repair import ASIDE
from infra.repair import find_or_mend, repair
from infra.sealed import keeps_seal, sealed_json
from infra.store import Store
from infra.tables import live_files, read
from infra.whole import torn_stages
from schemas.errors import StoreError
from tests.infra import helpers

FACTS = "reports/c-round-1.json"
SEEN = ("scores", "failures", "stages", "rounds")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "store")
    helpers.run(made)
    rounds.begin(made, "c", "policy-0")
    rounds.open_round(made, "c", 1)
    made.atomic_write(FACTS, sealed_json({"campaign": "c", "number": 1}))
    return made


def seen(store: Store) -> dict[str, pa.Table]:
    fresh = Store.open(store.url, create=False)
    return {table: read(fresh, table) for table in SEEN}


def change(store: Store, path: str, *places: int) -> bytes:
    was = store.read_bytes(path)
    data = bytearray(was)
    for place in places:
        data[place] ^= 4
    store.atomic_write(path, bytes(data))
    return was


def newest_entry(store: Store, table: str) -> str:
    return log_entry(table, versions_of(store.list_files(log_folder(table)), ".json")[-1])


PLACES = {
    "the only entry of a table": lambda store: log_entry("scores", 1),
    "the newest entry of stages": lambda store: newest_entry(store, "stages"),
    "the first entry": lambda store: log_entry("failures", 0),
    "a data file": lambda store: live_files(store, "scores")[1].name,
    "the row of a stage": lambda store: live_files(store, "stages")[0].name,
    "an older event": lambda store: live_files(store, "rounds")[0].name,
    "the facts of a round": lambda store: FACTS,
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_flipped_bit_is_turned_back(store: Store, where: str, share: float) -> None:
    whole, path = seen(store), PLACES[where](store)
    was = change(store, path, int(share * store.size(path)))
    damaged = store.read_bytes(path)
    fresh = Store.open(store.url)
    assert next(one.outcome for one in repair(fresh, dry_run=True)) == "done"
    assert store.read_bytes(path) == damaged
    found = repair(fresh)
    assert [one.outcome for one in found] == ["done"]
    assert path in found[0].text
    assert "flipped bit" in found[0].text
    assert store.read_bytes(path) == was
    assert seen(store) == whole
    assert repair(Store.open(store.url)) == []


def test_a_data_file_with_more_damage_is_put_aside_and_its_stage_is_done_again(store: Store) -> None:
    whole, file = seen(store), live_files(store, "scores")[1]
    change(store, file.name, 30, 60, 90)
    fresh, said = Store.open(store.url), list[str]()
    (left,) = repair(fresh)
    assert left.outcome == "left"
    assert "holds other bytes than were written" in left.text
    assert "Put it back from a copy" in left.text
    assert fresh.exists(f"{ASIDE}/{file.name}")
    assert find_or_mend(fresh, helpers.spec(), said.append) is None
    assert "is gone or was changed" in said[0]
    helpers.run(fresh)
    assert damage(fresh, file) == ""
    assert {table: rows for table, rows in seen(store).items() if table != "stages"} == {
        table: rows for table, rows in whole.items() if table != "stages"
    }


def test_what_a_damaged_entry_says_is_believed_as_far_as_the_files_bear_it_out(store: Store) -> None:
    """Several bits: the line of one file names another, those of the others hold."""
    whole, path = seen(store), log_entry("scores", 1)
    text = store.read_bytes(path).decode()
    lost = live_files(store, "scores")[0]
    store.atomic_write(
        path, text.replace(lost.path[-20:], lost.path[-20:].replace("x", "y").replace("a", "b")).encode()
    )
    assert store.read_bytes(path).decode() != text
    with pytest.raises(StoreError, match="is not as it was written"):
        seen(store)
    fresh = Store.open(store.url)
    outcomes = [one.text for one in repair(fresh)]
    assert any(text.startswith(f"{path} is not as it was written") for text in outcomes)
    assert any("put back from files that add up" in text for text in outcomes)
    assert torn_stages(Store.open(store.url)) == []
    assert seen(store) == whole


def test_a_checkpoint_that_is_not_as_it_was_made_is_put_aside(store: Store) -> None:
    for number in range(1, CHECKPOINT_EVERY // 2 + 1):
        rounds.keep(store, "c", number, "why")
        rounds.close_round(store, "c", number)
        rounds.open_round(store, "c", number + 1)
    whole = seen(store)
    version = versions_of(store.list_files(log_folder("rounds")), ".checkpoint.parquet")[-1]
    path = checkpoint_file("rounds", version)
    change(store, path, store.size(path) // 3)
    with pytest.raises(StoreError, match=r"checkpoint\.parquet is not as it was written|can't be opened"):
        seen(store)
    assert all(one.outcome == "done" for one in repair(Store.open(store.url)))
    assert seen(store) == whole


def test_no_other_file_is_found_for_a_digest_that_fits_none() -> None:
    assert turned_back(b"abc", lambda data: data == b"abb") == b"abb"
    assert turned_back(b"abc", lambda data: data == b"bbb") is None
    assert turned_back(b"a" * (MOST_BYTES + 1), lambda data: True) is None
    assert turned_back(b"", lambda data: True) is None
    assert not keeps_seal(b'{"a": 1}')
