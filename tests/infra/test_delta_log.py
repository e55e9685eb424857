"""Logs of tables: on the disk before anybody builds on them, short however long the history, and losing no writer."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.transaction import AddAction

from infra import delta_log, faults, versions
from infra.data_files import DataFile, file_name
from infra.delta_log import CHECKPOINT_EVERY, Entry, log_entry, log_folder, versions_of, write_entry
from infra.log_repair import ASIDE, mend_logs
from infra.snapshots import newest, open_table
from infra.store import Store
from infra.tables import live_files
from infra.versions import add_files
from schemas.errors import StoreError
from schemas.tables import contract
from tests.infra import helpers

ROOT = Path(__file__).resolve().parents[2]


def a_file(store: Store, number: int) -> DataFile:
    """A data file that nobody opens."""
    path = f"round=1/{file_name(f'{number:064x}', '0')}"
    file = DataFile("scores", path, (("round", "1"),), rows=1, size=1)
    store.atomic_write(file.name, b"x", lasting=False)
    return file


def add(store: Store, number: int) -> bool:
    return add_files(store, "scores", [a_file(store, number)], {f"transaction-{number}": 1}, note=f"n {number}")


def numbers(store: Store) -> list[int]:
    return sorted(int(file.stage_key, 16) for file in live_files(store, "scores", every_stage=True))


def transactions(store: Store, count: int) -> list[int | None]:
    opened = open_table(store, "scores")
    assert opened is not None
    return [opened.transaction_version(f"transaction-{number}") for number in range(count)]


class Disk:
    """What of a store has been synced: inodes of files, and of folders with the names that they had then."""

    def __init__(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.files = Path(root), set[int]()
        self.names: dict[int, set[str]] = {}
        real = os.fsync

        def sync(number: int) -> None:
            real(number)
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.is_dir():
                self.names[path.stat().st_ino] = {entry.name for entry in path.iterdir()}
            else:
                self.files.add(path.stat().st_ino)

        monkeypatch.setattr(os, "fsync", sync)

    def forgets(self) -> list[str]:
        """What a loss of power could take now: bytes of files, and names of files and folders."""
        lost = []
        for path in sorted(self.root.rglob("*")):
            if path.name.startswith(".tmp-") or path.name == "adhmr-store.json":
                continue
            if path.is_file() and path.stat().st_ino not in self.files:
                lost.append(f"bytes of {path.relative_to(self.root)}")
            if path.name not in self.names.get(path.parent.stat().st_ino, set()):
                lost.append(f"name of {path.relative_to(self.root)}")
        return lost


def test_all_that_stages_speaks_of_is_on_the_disk_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")
    disk = Disk(store.root, monkeypatch)
    found: dict[str, list[str]] = {}
    monkeypatch.setattr(faults, "reach", lambda point: found.update({point: disk.forgets()}))
    for stage in range(CHECKPOINT_EVERY):  # the last ones with a checkpoint, and with merged files
        helpers.run(store, f"stage {stage}")
        assert found["commit:failures"] == found["commit:stages"] == found["append:stages"] == []
        assert found[f"committed:stage {stage}"] == []
        assert disk.forgets() == []
    assert {"checkpoint:scores", "checkpoint:stages", "merge:stages"} <= found.keys()


def test_transactions_outlive_checkpoints_and_removed_entries(tmp_path: Path) -> None:
    store, count = Store.open(tmp_path / "store"), 140
    for number in range(count):
        assert add(store, number)
    log = store.list_files(log_folder("scores"))
    entries, checkpoints = versions_of(log, ".json"), versions_of(log, ".checkpoint.parquet")
    assert entries == list(range(count + 1 - delta_log._KEPT, count + 1))
    assert checkpoints == [120, 130, 140]
    fresh = Store.open(store.url)
    assert numbers(fresh) == numbers(store) == list(range(count))
    assert transactions(fresh, count) == [1] * count
    assert not any(add(fresh, number) for number in (0, 50, count - 1))
    opened = open_table(fresh, "scores")
    assert opened is not None
    assert len(opened.history(50)) == 50


def test_no_entry_goes_whose_transactions_the_checkpoint_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")
    monkeypatch.setattr(delta_log, "_KEPT", 5)
    for number in range(9):
        add(store, number)
    path = Path(store.path(log_entry("scores", 2)))
    path.write_text(path.read_text() + '{"txn":{"appId":"unheard of","version":1}}\n')  # after it was read
    monkeypatch.setattr(delta_log, "_checkpoint_aside", lambda store, table, version: _of_what_was_read(store))
    add(store, 9)
    assert versions_of(store.list_files(log_folder("scores")), ".json") == list(range(11))
    assert add(store, 10)


def _of_what_was_read(store: Store) -> None:
    opened = open_table(store, "scores")
    assert opened is not None
    path = Path(store.path(log_entry("scores", 2)))
    whole = path.read_text()
    path.write_text("\n".join(line for line in whole.splitlines() if "unheard of" not in line) + "\n")
    DeltaTable(store.uri("tables", "scores")).create_checkpoint()
    path.write_text(whole)


def test_a_writer_so_slow_that_its_version_was_made_and_removed_meanwhile_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")
    for number in range(8):
        add(store, number)
    slow: list[int] = []

    def write_late(store: Store, table: str, version: int, entry: Entry) -> bool:
        if not slow:
            slow.append(version)
            monkeypatch.setattr(delta_log, "_KEPT", 2)
            other = Store.open(store.url)
            for number in range(100, 112):
                add(other, number)
            assert not store.exists(log_entry(table, version))
        return write_entry(store, table, version, entry)

    monkeypatch.setattr(versions, "write_entry", write_late)
    assert add(store, 8)
    assert slow == [9]
    assert numbers(Store.open(store.url)) == [*range(9), *range(100, 112)]


@pytest.mark.parametrize("first", [True, False])
def test_threads_that_write_at_once_lose_nothing(tmp_path: Path, first: bool) -> None:
    store = Store.open(tmp_path / "store")
    if not first:
        add(store, 1000)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda which: [add(store, 10 * which + n) for n in range(4)], range(4)))
    assert [n for n in numbers(store) if n < 1000] == [10 * which + n for which in range(4) for n in range(4)]


WRITER = """
import sys, time
from pathlib import Path
from infra.store import Store
from tests.infra.test_delta_log import add
store, which = Store.open(sys.argv[1]), int(sys.argv[2])
Path(sys.argv[3], f"ready-{which}").touch()
while not Path(sys.argv[3], "go").exists():
    time.sleep(0.005)
print(sum(add(store, 100 * which + number) for number in range(25)))
"""


@pytest.mark.slow
def test_eight_processes_with_25_commits_each_lose_none(tmp_path: Path) -> None:
    """delta-rs' own loop lost 142 of 2,000 commits of ten writers (its issue 3736)."""
    store = Store.open(tmp_path / "store")
    command = [sys.executable, "-c", WRITER, store.url]
    writers = [
        subprocess.Popen([*command, str(which), str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for which in range(8)
    ]
    while len(list(tmp_path.glob("ready-*"))) < 8:
        assert all(writer.poll() is None for writer in writers)
    (tmp_path / "go").touch()
    assert [writer.communicate(timeout=240)[0].strip() for writer in writers] == ["25"] * 8
    expected = [100 * which + number for which in range(8) for number in range(25)]
    assert numbers(Store.open(store.url)) == expected
    opened = open_table(store, "scores")
    assert opened is not None
    assert opened.version() == 200
    assert all(opened.transaction_version(f"transaction-{number}") == 1 for number in expected)


@pytest.mark.parametrize("size", [0, 2, None])
def test_a_file_that_is_not_as_it_should_be_is_never_committed(tmp_path: Path, size: int | None) -> None:
    store = Store.open(tmp_path / "store")
    file = a_file(store, 1)
    path = Path(store.path(file.name))
    path.unlink() if size is None else path.write_bytes(b"x" * size)
    with pytest.raises(StoreError, match=f"part-.*parquet {'is not there' if size is None else f'has {size} bytes'}"):
        add_files(store, "scores", [file], {"k": 1})
    assert newest(store, "scores").version == -1


def committed_by_delta(store: Store, number: int) -> None:
    """As the engine did it before it wrote its logs itself."""
    known, file = contract("scores"), a_file(store, number)
    table = DeltaTable.create(
        store.uri("tables", "scores"),
        schema=Schema.from_arrow(known.schema),
        mode="ignore",
        partition_by=["round"],
        name="scores",
        description=known.doc,
    )
    table.create_write_transaction(
        [AddAction(file.path, file.size, dict(file.partition), 1, True, json.dumps({"numRecords": 1}))],
        mode="append",
        schema=Schema.from_arrow(known.schema),
        partition_by=["round"],
        commit_properties=CommitProperties(app_transactions=[Transaction(f"transaction-{number}", 1)]),
    )


def test_a_log_that_delta_began_goes_on_and_delta_writes_on(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    for number in range(12):
        committed_by_delta(store, number)
    assert not any(add(store, number) for number in range(12))
    for number in range(12, 24):
        assert add(store, number)
    for number in range(24, 27):
        committed_by_delta(store, number)
    assert add(store, 27)
    assert numbers(store) == numbers(Store.open(store.url)) == list(range(28))
    assert transactions(store, 28) == [1] * 28
    assert versions_of(store.list_files(log_folder("scores")), ".checkpoint.parquet") == [20]


HARM: dict[str, Callable[[Path], object]] = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "torn at once": lambda path: path.write_bytes(path.read_bytes()[:30]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("how", HARM)
@pytest.mark.parametrize("version", [0, 2, 4])
def test_a_log_that_can_not_be_read_is_mended(tmp_path: Path, how: str, version: int) -> None:
    store = Store.open(tmp_path / "store")
    for number in range(4):
        add(store, number)
    entry = Path(store.path(log_entry("scores", version)))
    HARM[how](entry)
    was = entry.read_bytes() if entry.exists() else None
    unseen = version == 4 and how == "gone"  # the newest: nothing tells that there was one
    planned = mend_logs(store, dry_run=True)
    assert (entry.read_bytes() if entry.exists() else None) == was
    assert list(map(str, mend_logs(store))) == list(map(str, planned))
    assert [damage.path for damage in planned] == ([] if unseen else [log_entry("scores", version)])
    aside = Path(store.path(ASIDE, log_entry("scores", version)))
    assert (aside.read_bytes() if aside.exists() else None) == was
    expected = [number for number in range(4) if number != version - 1]
    if version and how == "torn":  # its last line goes, the one with the transaction
        expected = [0, 1, 2, 3]
    assert numbers(Store.open(store.url)) == expected
    assert mend_logs(store) == []
    assert all(add(store, number) for number in range(10, 20))
    assert numbers(Store.open(store.url)) == [*expected, *range(10, 20)]


@pytest.mark.parametrize("how", ["empty", "zeros", "torn"])
def test_a_checkpoint_that_can_not_be_read_is_put_aside(tmp_path: Path, how: str) -> None:
    store = Store.open(tmp_path / "store")
    for number in range(12):
        add(store, number)
    checkpoint = delta_log.checkpoint_file("scores", 10)
    HARM[how](Path(store.path(checkpoint)))
    with pytest.raises(StoreError, match=r"can't be opened.*adhmr repair"):
        numbers(Store.open(store.url))
    assert [damage.path for damage in mend_logs(store)] == [checkpoint, f"{log_folder('scores')}/_last_checkpoint"]
    assert numbers(Store.open(store.url)) == list(range(12))
    assert transactions(store, 12) == [1] * 12


def test_what_is_whole_stays_as_it_is(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    for number in range(12):
        add(store, number)
    before = {path: store.read_bytes(path) for path in store.list_files("")}
    assert mend_logs(store) == []
    assert {path: store.read_bytes(path) for path in store.list_files("")} == before
