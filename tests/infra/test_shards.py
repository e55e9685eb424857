"""Shards: fixed cuts, fixed bytes, receipts that are never replaced."""

import random
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import shards as shards_module
from infra.data_files import shard_file_name
from infra.shards import Shard, Tally, cut, forget, parquet_bytes, receipts, write_shard
from infra.stages import Failure, failures_table
from infra.store import Store
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


def test_only_what_repeats_gets_a_dictionary() -> None:
    names, numbers = ["a", "b"] * 500, np.random.default_rng(0).standard_normal(1000)
    vectors = pa.array([[value, value + 1] for value in numbers], pa.list_(pa.float32()))
    rows = pa.table({"name": names, "value": numbers, "vector": vectors, "place": pa.array([0] * 1000, pa.int32())})
    data = parquet_bytes(rows)
    assert pq.read_table(BytesIO(data)).equals(rows)
    group = pq.ParquetFile(BytesIO(data)).metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    assert {column.path_in_schema for column in columns if column.has_dictionary_page} == {"name", "place"}


def test_numbers_of_networks_are_compressed_by_what_is_quick_to_read() -> None:
    """Those of lists, too, and of lists of lists; all else by what makes it small."""
    rows = pa.table(
        {
            "name": ["a", "b"],
            "value": pa.array([0.5, 0.25]),
            "vector": pa.array([[0.1], [0.2]], pa.list_(pa.float32())),
            "rows": pa.array([[[0.1]], [[0.2]]], pa.list_(pa.list_(pa.float32()))),
            "counts": pa.array([[1], [2]], pa.list_(pa.int32())),
            "picture": [b"1", b"2"],
            "parts": pa.array([[{"text": "a", "share": 0.5}], []]),
        }
    )
    data = parquet_bytes(rows)
    assert pq.read_table(BytesIO(data)).equals(rows)
    group = pq.ParquetFile(BytesIO(data)).metadata.row_group(0)
    found = {}
    for place in range(group.num_columns):
        path = group.column(place).path_in_schema.replace(".list.element", "")
        found[path] = group.column(place).compression
    assert {path for path, kind in found.items() if kind == "SNAPPY"} == {"value", "vector", "rows", "parts.share"}
    assert {path for path, kind in found.items() if kind == "ZSTD"} == {"name", "counts", "picture", "parts.text"}


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


def test_two_that_make_other_units_under_the_same_key_at_once(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    write_shard(store, KEY, Shard(0, ("a",)), {}, Tally(ok=1))
    with pytest.raises(StoreError, match="Shard 0 of stage toy was made from other units"):
        write_shard(store, KEY, Shard(0, ("b",)), {}, Tally(ok=1), stage="toy")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def of_other_rows(path: Path) -> None:
    """A whole Parquet file with as many bytes, and fewer rows."""
    size, rows = path.stat().st_size, pq.read_table(path, partitioning=None)
    buffer = BytesIO()
    pq.write_table(rows.slice(1), buffer, compression="none", use_dictionary=False)
    data = buffer.getvalue()
    path.write_bytes(b"PAR1" + b"\0" * (size - len(data)) + data[4:] if len(data) <= size else data[:size])


RECEIPTS = {
    "empty": lambda data: b"",
    "not JSON": lambda data: data[:-20],
    "not even text": lambda data: b"\xff\xfe" + data,
    "other fields": lambda data: b'{"index":1}',
    "no object": lambda data: b"[1, 2]",
    "a file with other fields": lambda data: data.replace(b'"scores",', b"", 1),
    "of another shard": lambda data: data.replace(b'"index":1', b'"index":2'),
    "of other units": lambda data: data.replace(b'"ids":"', b'"ids":"0'),
}
FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": cut_short,
    "no Parquet": lambda path: path.write_bytes(b"\1" * path.stat().st_size),
    "of other rows": of_other_rows,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("what", [*(f"receipt {name}" for name in RECEIPTS), *(f"file {name}" for name in FILES)])
def test_what_is_damaged_is_made_again_and_said(tmp_path: Path, what: str) -> None:
    store, shards = Store.open(tmp_path / "store"), cut(helpers.IDS, 4)
    made = {}
    for shard in shards:
        rows = {"scores": helpers.scores(KEY, list(shard.ids))}
        made[shard.index] = write_shard(store, KEY, shard, rows, Tally(ok=len(shard.ids)))
    (file,) = made[1].files
    before = store.read_bytes(file.name)
    kind, _, name = what.partition(" ")
    if kind == "file":
        FILES[name](Path(store.path(file.name)))
    else:
        receipt = Path(store.path(f"shards/{KEY}/00001.json"))
        receipt.write_bytes(RECEIPTS[name](receipt.read_bytes()))
    said: list[str] = []
    assert receipts(store, KEY, shards, say=said.append) == {0: made[0], 2: made[2]}
    (told,) = said
    assert told.startswith("shard 1 is made again: ")
    assert file.name in told or "receipt" in told
    again = write_shard(store, KEY, shards[1], {"scores": helpers.scores(KEY, list(shards[1].ids))}, Tally(ok=4))
    assert again == made[1]
    assert store.read_bytes(file.name) == before
    assert receipts(store, KEY, shards) == made


def test_a_damaged_receipt_does_not_speak_for_another_worker(tmp_path: Path) -> None:
    store, shard = Store.open(tmp_path / "store"), Shard(0, ("a",))
    store.atomic_write(f"shards/{KEY}/00000.json", b"{")
    receipt = write_shard(store, KEY, shard, {"scores": helpers.scores(KEY, ["a"])}, Tally(ok=1))
    assert receipts(store, KEY, [shard]) == {0: receipt}


def test_a_damaged_file_under_the_name_of_a_whole_one_is_replaced(tmp_path: Path) -> None:
    """As a loss of power leaves it: the name is there, and the bytes are not."""
    store, shard = Store.open(tmp_path / "store"), Shard(0, ("a",))
    rows = {"scores": helpers.scores(KEY, ["a"])}
    receipt = write_shard(store, KEY, shard, rows, Tally(ok=1))
    (file,) = receipt.files
    store.remove(f"shards/{KEY}/00000.json")
    Path(store.path(file.name)).write_bytes(b"")
    assert write_shard(store, KEY, shard, rows, Tally(ok=1)) == receipt
    assert receipts(store, KEY, [shard]) == {0: receipt}


def test_files_that_a_run_left_which_made_other_rows_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run dies after its file and before its receipt; the second one makes other rows."""
    store, shard = Store.open(tmp_path / "store"), Shard(0, ("a",))

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shards_module, "sealed_json", dies)
        with pytest.raises(KeyboardInterrupt):
            write_shard(store, KEY, shard, {"scores": helpers.scores(KEY, ["a"])}, Tally(ok=1))
    assert any(path.startswith("tables/scores/") for path in store.list_files(""))
    rows = helpers.scores(KEY, ["a"], shift=9.0)
    (file,) = write_shard(store, KEY, shard, {"scores": rows}, Tally(ok=1)).files
    kept = pq.read_table(tmp_path / "store" / "tables" / "scores" / file.path, partitioning=None)
    assert kept.column("score").to_pylist() == rows.column("score").to_pylist()


def test_what_is_known_of_a_shard_is_small(tmp_path: Path) -> None:
    """There may be tens of thousands: their receipts are looked at, and held, by the process that leads a stage."""
    store, count = Store.open(tmp_path), 100
    shards = cut([f"toy/test/{number:08d}#0" for number in range(2 * count)], 2)
    for shard in shards:
        rows = {"scores": helpers.scores(KEY, list(shard.ids)), "failures": _failed(shard)}
        write_shard(store, KEY, shard, rows, Tally(ok=2))
    receipts(store, KEY, shards)  # with what is made once
    tracemalloc.start()
    found = receipts(store, KEY, shards)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(receipt.files) for receipt in found.values()) == 2 * count
    assert held < 1800 * count
    assert peak < 3500 * count


def _failed(shard: Shard) -> pa.Table:
    return failures_table(helpers.spec(), [Failure(shard.ids[0], "seen", outcome="filtered")]).drop(["stage_key"])


@pytest.mark.parametrize("is_local", [True, False])
def test_looks_come_in_order_and_few_wait(is_local: bool) -> None:
    where: Any = SimpleNamespace(is_local=is_local)
    count = 5000
    assert list(shards_module._looks(where, abs, range(-count, 0))) == list(range(count, 0, -1))
    tracemalloc.start()
    for _ in shards_module._looks(where, abs, range(count)):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400 * count, "all at once they take 1.8 KB each"
