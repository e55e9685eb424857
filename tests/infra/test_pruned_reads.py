"""Reads of some ids open the files that may hold them, and give what a read of all would, whatever the log knows."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra import table_rows
from infra.data_files import DataFile, IdRange, file_name
from infra.delta_log import CHECKPOINT_EVERY
from infra.file_ranges import FileRanges
from infra.log_repair import mend_logs
from infra.log_seals import actions_of, sealed_lines
from infra.repair import repair
from infra.shards import Tally, cut, receipts, write_shard
from infra.snapshots import newest
from infra.stages import StageSpec, commit, files_by_table, find
from infra.store import Store
from infra.tables import keys_about, live_files, read, read_ids
from infra.versions import add_files
from schemas.errors import DataError
from tests.benchmarks.history import environment_to, opened_files, s3_behind_proxy
from tests.infra import helpers

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
HIGHEST = "\U0010ffff"


def commit_shards(store: Store, ids: list[str], size: int, name: str = "toy") -> str:
    """A stage with a score for each id."""
    spec = StageSpec(name, 1, {"size": size})
    shards = cut(ids, size)
    for shard in shards:
        rows = helpers.scores(spec.key, list(shard.ids), round_number=shard.index % 2)
        write_shard(store, spec.key, shard, {"scores": rows}, Tally(ok=len(shard.ids)))
    files = files_by_table(receipts(store, spec.key, shards).values(), ["scores"])
    return commit(store, spec, files, len(ids), Tally(ok=len(ids))).stage_key


def rewrite_log(store: Store, table: str, change: Callable[[int, dict[str, Any]], None]) -> Store:
    """Give the statistics of every file in the log to `change`, with the file's number; the store as it is found."""
    number = 0
    for entry in sorted(Path(store.path("tables", table, "_delta_log")).glob("*.json")):
        actions = actions_of(entry.read_bytes())
        for action in actions:
            if "add" in action:
                said = json.loads(action["add"]["stats"])
                change(number, said)
                action["add"]["stats"] = json.dumps(said, ensure_ascii=False)
                number += 1
        entry.write_bytes(sealed_lines(actions))
    return Store.open(store.url)


def strip(said: dict[str, Any]) -> None:
    """Leave what older versions wrote."""
    for name in ("minValues", "maxValues", "nullCount"):
        said.pop(name, None)


@given(
    bounds=st.lists(st.one_of(st.none(), st.tuples(TEXT, TEXT).map(sorted)), max_size=20),
    ids=st.sets(TEXT, max_size=6),
)
@example(bounds=[["a", "z"], ["b", "c"], ["d", "e"]], ids={"f"})
def test_files_that_may_hold_ids_are_found(bounds: list[list[str] | None], ids: set[str]) -> None:
    known = sorted(IdRange(*pair) for pair in bounds if pair is not None)
    ranges = [*known, *[None] * bounds.count(None)]
    expected = [
        place
        for place, one in enumerate(ranges)
        if ids and (one is None or any(one.low <= name <= one.high for name in ids))
    ]
    assert FileRanges(ranges).may_hold(sorted(ids)) == expected


@settings(max_examples=25, deadline=None)
@given(
    ids=st.sets(TEXT, min_size=1, max_size=24),
    others=st.sets(TEXT, max_size=4),
    size=st.integers(1, 6),
    bare=st.sets(st.integers(0, 24)),
    draw=st.randoms(use_true_random=False),
)
def test_a_pruned_read_is_the_whole_one_filtered(
    tmp_path_factory: pytest.TempPathFactory, ids: set[str], others: set[str], size: int, bare: set[int], draw: Any
) -> None:
    store = Store.open(tmp_path_factory.mktemp("store") / "store")
    keys = [commit_shards(store, sorted(ids), size), commit_shards(store, sorted(ids | others), size + 1, "other")]
    store = rewrite_log(store, "scores", lambda number, said: strip(said) if number in bare else None)
    wanted = {*draw.sample(sorted(ids), min(3, len(ids))), *others}
    for chosen in ([keys[0]], keys, None):
        whole = read(store, "scores", stage_keys=chosen)
        expected = whole.filter(pc.is_in(whole.column("instance_id"), pa.array(sorted(wanted), pa.string())))
        assert read(store, "scores", stage_keys=chosen, ids=wanted) == expected
        opened = live_files(store, "scores", stage_keys=chosen, ids=wanted)
        every = live_files(store, "scores", stage_keys=chosen)
        assert opened == [file for file in every if file.ids is None or _meets(file.ids, wanted)]
        assert len(read(store, "scores", stage_keys=chosen, ids=[])) == 0
    assert read_ids(store, "scores", stage_keys=[keys[0]]).to_pylist() == sorted(ids)


def _meets(bounds: IdRange, ids: set[str]) -> bool:
    return any(bounds.low <= name <= bounds.high for name in ids)


def test_a_read_opens_the_files_of_its_ids(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    ids = [f"toy/test/{number:04d}#0" for number in range(60)]
    key = commit_shards(store, ids, 3)
    for wanted, most in ((ids[30:33], 1), (ids[31:34], 2), ([ids[0], ids[59]], 2), (["toy/test/9"], 0)):
        with opened_files(Path(store.root)) as opened:
            rows = read(store, "scores", stage_keys=[key], ids=wanted)
        assert rows.column("instance_id").to_pylist() == sorted(set(wanted) & set(ids))
        assert len({path for path in opened if "/scores/" in path and path.endswith(".parquet")}) == most


@settings(max_examples=25, deadline=None)
@given(
    places=st.lists(st.sets(st.tuples(st.sampled_from("abc"), TEXT), min_size=1, max_size=5), min_size=1, max_size=3),
    size=st.integers(1, 4),
    bare=st.sets(st.integers(0, 12)),
)
def test_the_stages_about_a_split_are_found(
    tmp_path_factory: pytest.TempPathFactory, places: list[set[tuple[str, str]]], size: int, bare: set[int]
) -> None:
    store = Store.open(tmp_path_factory.mktemp("store") / "store")
    of = [sorted(f"toy/{split}/{name}" for split, name in some) for some in places]
    keys = [commit_shards(store, ids, size, f"stage {number}") for number, ids in enumerate(of)]
    store = rewrite_log(store, "scores", lambda number, said: strip(said) if number in bare else None)
    for split in "abcd":
        beginning = f"toy/{split}/"
        about = [any(name.startswith(beginning) for name in ids) for ids in of]
        assert keys_about(store, "scores", beginning) == {key for key, it in zip(keys, about, strict=True) if it}


def test_which_stages_are_about_a_split_is_told_without_opening_their_files(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    of_a, of_b = (
        commit_shards(store, [f"toy/{split}/{number:02d}" for number in range(9)], 2, split) for split in "ab"
    )
    across = commit_shards(store, ["toy/a/00", "toy/b/00", "toy/c/00"], 3, "across")
    with opened_files(Path(store.root)) as opened:
        assert keys_about(store, "scores", "toy/a/") == {of_a, across}
        assert keys_about(store, "scores", "toy/d/") == set()
    assert [path for path in opened if "/scores/" in path and path.endswith(".parquet")] == []
    with opened_files(Path(store.root)) as opened:
        assert keys_about(store, "scores", "toy/b/") == {of_b, across}
    data = {Path(path).name for path in opened if "/scores/" in path and path.endswith(".parquet")}
    assert [name.split("-")[1] for name in data] == [across]


def test_a_store_of_before_reads_the_same(tmp_path: Path) -> None:
    new = Store.open(tmp_path / "new")
    ids = [f"toy/test/{number:04d}#0" for number in range(12)]
    key = commit_shards(new, ids, 3)
    shutil.copytree(new.root, tmp_path / "old")
    old = rewrite_log(Store.open(tmp_path / "old"), "scores", lambda number, said: strip(said))
    assert [file.ids for file in newest(old, "scores").all] == [None] * 4
    assert live_files(old, "scores") == live_files(new, "scores"), "a file is the same, whatever is known of it"
    assert len(live_files(old, "scores", ids=ids[:1])) == 4
    assert read(old, "scores", ids=ids[2:5]) == read(new, "scores", ids=ids[2:5])
    assert find(old, key) is not None
    more = [f"toy/test/{number:04d}#0" for number in range(100, 106)]
    commit_shards(old, more, 3, "later")
    assert len(live_files(old, "scores", ids=more[:1])) == 4 + 1, "what is written from now on has ranges"


def test_receipts_of_before_are_taken(tmp_path: Path) -> None:
    store, shards = Store.open(tmp_path / "store"), cut(helpers.IDS, 4)
    key = "ab" * 32
    rows = helpers.scores(key, list(shards[1].ids))
    made = write_shard(store, key, shards[1], {"scores": rows}, Tally(ok=4))
    assert [file.ids for file in made.files] == [IdRange(shards[1].ids[0], shards[1].ids[-1])]
    assert [file.ids for file in receipts(store, key, shards)[1].files] == [file.ids for file in made.files]
    path = Path(store.path("shards", key, "00001.json"))
    fields = json.loads(path.read_bytes())
    fields.pop("ranges"), fields.pop("sha256")
    path.write_text(json.dumps(fields))
    found = receipts(store, key, shards)
    assert found == {1: made}
    assert [file.ids for file in found[1].files] == [None]


def test_any_delta_client_can_skip_files(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    ids = sorted(f'toy/test/{number:02d}{HIGHEST}\U00020000\u00e9"\\#0' for number in range(CHECKPOINT_EVERY + 2))
    for number, name in enumerate(ids):  # a version each, so that most stand in a checkpoint
        commit_shards(store, [name], 1, f"stage {number}")
    opened = DeltaTable(store.uri("tables", "scores"))
    actions = pa.table(opened.get_add_actions(flatten=True)).sort_by("min.instance_id")
    assert actions.column("min.instance_id").to_pylist() == actions.column("max.instance_id").to_pylist() == ids
    assert actions.column("null_count.instance_id").to_pylist() == [0] * len(ids)
    fragments = opened.to_pyarrow_dataset().get_fragments(filter=ds.field("instance_id") == ids[3])
    assert len(list(fragments)) == 1


def test_bounds_that_are_no_bounds_are_told(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    commit_shards(store, helpers.IDS, 4)
    turned = {"instance_id": "\x01"}
    store = rewrite_log(store, "scores", lambda number, said: said.update(maxValues=turned))
    with pytest.raises(DataError, match="does not go together"):
        newest(store, "scores")


def test_a_range_that_flipped_is_not_trusted(tmp_path: Path) -> None:
    """Else a reader would pass by rows that are there."""
    store = Store.open(tmp_path / "store")
    key = commit_shards(store, helpers.IDS, 4)
    before = read(store, "scores")
    entry = Path(store.path("tables", "scores", "_delta_log", f"{1:020d}.json"))
    entry.write_bytes(entry.read_bytes().replace(b"toy/test/00#0", b"toy/test/03#0").replace(b'"mode"', b'"mood"'))
    store = Store.open(store.url)
    assert mend_logs(store)
    assert find(store, key) is None, "the file's line goes, so that the stage lacks rows"
    repair(store)
    assert find(store, key) is not None
    assert read(store, "scores", ids=helpers.IDS[:1]) == before.slice(0, 1)


def test_rows_about_nobody_can_not_be_asked_for_by_id(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    with pytest.raises(DataError, match="models are about nobody"):
        read(store, "models", ids=["a"])
    with pytest.raises(TypeError, match="collection"):
        read(store, "scores", ids="a")


@pytest.mark.slow
def test_requests_of_a_shards_read_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """On S3, of the second and later reads of a process."""
    with s3_behind_proxy("pruned") as proxy:
        for name, value in environment_to(proxy.url).items():
            monkeypatch.setenv(name, value)
        asked = {}
        for count in (4, 40):
            ids = [f"toy/test/{number:04d}#0" for number in range(count)]
            key = commit_shards(Store.open(f"s3://pruned/{count}"), ids, 1)
            store = Store.open(f"s3://pruned/{count}", create=False)
            read(store, "scores", stage_keys=[key], ids=ids[:1])
            before = proxy.requests
            assert len(read(store, "scores", stage_keys=[key], ids=ids[2:3])) == 1
            asked[count] = proxy.requests - before
        assert asked[4] == asked[40] < 20


def test_a_log_with_many_files_is_not_read_for_each_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")
    files = [
        DataFile("scores", f"round=1/{file_name(f'{number:064x}', '0')}", (("round", "1"),), 1, 1)
        for number in range(50)
    ]
    for file in files:
        store.atomic_write(file.name, b"x", lasting=False)
    add_files(store, "scores", files, {"all": 1})
    snapshot = newest(store, "scores")
    monkeypatch.setattr(Store, "read_bytes", lambda self, path: pytest.fail(f"{path} was read"))
    assert newest(store, "scores") is snapshot


@pytest.mark.parametrize("at_once", [1, 3])
def test_files_that_are_read_a_few_at_a_time_are_all_read_in_their_order(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path)
    commit_shards(store, [f"toy/a/{number:02d}#0" for number in range(14)], 2)
    whole = read(store, "scores")
    monkeypatch.setattr(table_rows, "_AT_ONCE", at_once)
    assert read(store, "scores") == whole
    assert len(whole) >= 14
