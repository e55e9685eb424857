"""Shards: fixed cuts, fixed bytes, receipts that are never replaced."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import shards as shards_module
from infra.shards import Shard, Tally, cut, forget, parquet_bytes, receipts, write_shard
from infra.store import Store
from infra.tables import shard_file_name
from schemas.errors import DataError, StoreError
from tests.infra import helpers

KEY = "ab" * 32


@given(st.sets(st.text(min_size=1), max_size=60), st.integers(1, 20), st.randoms(use_true_random=False))
def test_cut_is_a_fixed_partition(ids: set[str], size: int, dice: random.Random) -> None:
    listed = list(ids)
    shards = cut(listed, size)
    dice.shuffle(listed)
    assert cut(listed, size) == shards
    assert [name for shard in shards for name in shard.ids] == sorted(ids)
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(len(shard.ids) == size for shard in shards[:-1])
    assert all(shard.ids for shard in shards)


def test_cut_refuses() -> None:
    with pytest.raises(DataError, match="'b' was given twice"):
        cut(["b", "a", "b"], 2)
    with pytest.raises(DataError, match="at least 1"):
        cut(["a"], 0)


def test_files_are_a_function_of_their_rows() -> None:
    assert parquet_bytes(helpers.scores("k", helpers.IDS)) == parquet_bytes(helpers.scores("k", helpers.IDS))
    assert shard_file_name(KEY, 7, b"a") == f"part-{KEY}-00007xca978112ca1bbdca.parquet"


def test_receipts_say_what_is_done(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    shards = cut(helpers.IDS, 4)
    assert receipts(store, KEY, shards) == {}
    rows = helpers.scores(KEY, list(shards[1].ids))
    receipt = write_shard(store, KEY, shards[1], {"scores": rows}, Tally(ok=4))
    assert receipts(store, KEY, shards) == {1: receipt}
    (file,) = receipt.files
    data = (tmp_path / "store" / "tables" / "scores" / file.path).read_bytes()
    assert file.path == f"round=1/{shard_file_name(KEY, 1, data)}"
    other = helpers.scores(KEY, list(shards[1].ids), shift=9.0)
    assert write_shard(store, KEY, shards[1], {"scores": other}, Tally(failed=4)) == receipt
    (tmp_path / "store" / "tables" / "scores" / receipt.files[0].path).unlink()
    assert receipts(store, KEY, shards) == {}


def test_a_shard_without_rows_is_done_without_files(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    shard = Shard(0, ("a",))
    receipt = write_shard(store, KEY, shard, {"scores": helpers.scores(KEY, [])}, Tally(filtered=1))
    assert receipt.files == ()
    assert receipts(store, KEY, [shard]) == {0: receipt}
    forget(store, KEY, 0)
    assert receipts(store, KEY, [shard]) == {}


def test_same_key_for_other_units_is_an_error(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    write_shard(store, KEY, Shard(0, ("a",)), {}, Tally(ok=1))
    with pytest.raises(StoreError, match="Shard 0 of stage toy was made from other units"):
        receipts(store, KEY, [Shard(0, ("b",))], stage="toy")


def test_files_that_a_run_left_which_made_other_rows_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run dies after its file and before its receipt; the second one makes other rows."""
    store, shard = Store.open(tmp_path / "store"), Shard(0, ("a",))

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shards_module, "canonical_json", dies)
        with pytest.raises(KeyboardInterrupt):
            write_shard(store, KEY, shard, {"scores": helpers.scores(KEY, ["a"])}, Tally(ok=1))
    assert any(path.startswith("tables/scores/") for path in store.list_files(""))
    rows = helpers.scores(KEY, ["a"], shift=9.0)
    (file,) = write_shard(store, KEY, shard, {"scores": rows}, Tally(ok=1)).files
    kept = pq.read_table(tmp_path / "store" / "tables" / "scores" / file.path, partitioning=None)
    assert kept.column("score").to_pylist() == rows.column("score").to_pylist()
