"""Tables as readers see them: brought up to date, never behind, whoever else reads and writes."""

import copy
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import snapshots
from infra.data_files import DataFile, file_name
from infra.delta_log import CHECKPOINT_EVERY
from infra.store import Store
from infra.tables import live_files, read
from infra.versions import add_files
from schemas.errors import StoreError, VanishedError
from tests.infra import helpers


def add(store: Store, number: int) -> bool:
    """A commit of a file that nobody opens."""
    file = DataFile("scores", f"round=1/{file_name(f'{number:064x}', '0')}", (("round", "1"),), rows=1, size=1)
    store.atomic_write(file.name, b"x", lasting=False)
    return add_files(store, "scores", [file], {f"transaction-{number}": 1})


def seen(store: Store) -> list[int]:
    return sorted(int(file.stage_key, 16) for file in live_files(store, "scores", every_stage=True))


@settings(max_examples=20)
@given(steps=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=6))
def test_a_reader_is_never_behind(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]]) -> None:
    reader = Store.open(tmp_path_factory.mktemp("store") / "store")
    writer = Store.open(reader.url)
    assert seen(reader) == []
    written = 0
    for more, by_the_reader in steps:
        for number in range(written, written + more):
            assert add(reader if by_the_reader else writer, number)
        written += more
        assert seen(reader) == list(range(written))
        assert not add(writer, written - 1)


def test_a_reader_comes_over_a_checkpoint(tmp_path: Path) -> None:
    reader = Store.open(tmp_path / "store")
    writer = Store.open(reader.url)
    for number in range(CHECKPOINT_EVERY + 5):
        add(writer, number)
        if number in (3, CHECKPOINT_EVERY - 2, CHECKPOINT_EVERY + 3):
            assert seen(reader) == list(range(number + 1))
    assert list(Path(reader.path("tables", "scores", "_delta_log")).glob("*.checkpoint.parquet"))
    assert seen(reader) == seen(Store.open(reader.url)) == list(range(CHECKPOINT_EVERY + 5))


def test_the_log_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")
    add(Store.open(store.url), 0)
    opened = []
    monkeypatch.setattr(snapshots, "DeltaTable", lambda *words, **more: opened.append(1) or DeltaTable(*words, **more))
    for _ in range(3):
        assert seen(store) == [0]
    assert len(opened) == 1
    assert seen(copy.copy(store)) == [0]  # as a worker gets it
    assert len(opened) == 2


def test_what_can_not_be_brought_up_to_date_is_read_from_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(DeltaTable):
        def update_incremental(self) -> None:
            raise DeltaError("an answer broke off")

    store = Store.open(tmp_path / "store")
    add(store, 0)
    monkeypatch.setattr(snapshots, "DeltaTable", Broken)
    assert seen(store) == [0]
    add(Store.open(store.url), 1)
    assert seen(store) == [0, 1]


@pytest.mark.parametrize("more", [0, 1, 2, 4])
def test_a_store_that_was_put_back_from_a_copy(tmp_path: Path, more: int) -> None:
    store = Store.open(tmp_path / "store")
    add(store, 0)
    shutil.copytree(store.root, tmp_path / "copy")
    for number in (1, 2):
        add(store, number)
    assert seen(store) == [0, 1, 2]
    shutil.rmtree(store.root)
    shutil.copytree(tmp_path / "copy", store.root)
    for number in range(10, 10 + more):
        add(Store.open(store.url), number)
    assert seen(store) == [0, *range(10, 10 + more)]


def test_threads_share_a_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    add(store, 0)

    def work(which: int) -> None:
        before = -1
        for step in range(5):
            number = 1 + 5 * which + step
            assert add(store, number)
            now = seen(store)
            assert number in now
            assert len(now) > before
            before = len(now)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert seen(store) == list(range(21))


@pytest.mark.parametrize("harm", ["gone", "cut short"])
def test_a_commit_refuses_files_that_are_not_there(tmp_path: Path, harm: str) -> None:
    store = Store.open(tmp_path / "store")
    add(store, 0)
    files = [
        DataFile("scores", f"round=1/{file_name(f'{number:064x}', '0')}", (("round", "1"),), 1, 2) for number in (1, 2)
    ]
    for file in files:
        store.atomic_write(f"tables/scores/{file.path}", b"xx")
    if harm == "gone":
        store.remove(f"tables/scores/{files[1].path}")
    else:
        store.atomic_write(f"tables/scores/{files[1].path}", b"x")
    with pytest.raises(VanishedError, match=f"{files[1].path} (is not there|has 1 bytes).* Run again"):
        add_files(store, "scores", files, {"transaction-1": 1})
    assert seen(store) == [0]
    store.atomic_write(f"tables/scores/{files[1].path}", b"xx")
    assert add_files(store, "scores", files, {"transaction-1": 1})
    assert seen(store) == [0, 1, 2]


def test_a_reader_is_told_of_a_lost_file(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    helpers.run(store)
    lost = live_files(store, "scores")[0]
    store.remove(f"tables/scores/{lost.path}")
    with pytest.raises(StoreError, match=f"Table scores in .* has lost a file: {lost.name} is not there.*adhmr repair"):
        read(store, "scores")
