"""The store: found, made, refused in plain words; files appear whole."""

import errno
import os
import pickle
import threading
from pathlib import Path

import pytest

from infra import faults
from infra.store import Store
from schemas.errors import StoreError


def test_open_makes_and_finds(tmp_path: Path) -> None:
    made = Store.open(tmp_path / "new" / "store")
    assert Store.open(f"file://{tmp_path}/new/store", create=False) == made
    assert made.is_local
    assert made.uri("tables", "scores") == f"{tmp_path}/new/store/tables/scores"
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own bytes


def test_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADHMR_STORE", str(tmp_path / "named"))
    assert Store.open().root == str(tmp_path / "named")
    monkeypatch.delenv("ADHMR_STORE")
    monkeypatch.chdir(tmp_path)
    assert Store.open().root == str(tmp_path / "adhmr-store")


def test_missing_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no store at .*adhmr run"):
        Store.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_folder_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        Store.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_unusable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="there is a file where a folder should be"):
        Store.open(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match="/proc/store"):
        Store.open("/proc/store")
    with pytest.raises(StoreError, match="memory"):
        Store.open("memory://x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    Store.open(tmp_path / "store")
    (tmp_path / "store").chmod(0o500)
    with pytest.raises(StoreError, match="not writable"):
        Store.open(tmp_path / "store")
    Store.open(tmp_path / "store", create=False)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("format", "formau", "is damaged: write"), ("{", "[", "is damaged: write"), ("1", "3", "has form 3, and this")],
)
def test_a_marker_that_says_something_else_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    marker = Path(Store.open(tmp_path / "store").path("adhmr-store.json"))
    text = marker.read_text()
    marker.write_text(text.replace(old, new, 1))
    for create in (True, False):
        with pytest.raises(StoreError, match=words) as raised:
            Store.open(tmp_path / "store", create=create)
        assert text.strip() in str(raised.value)
    marker.write_text(text.replace("adhmr-engine", "adhmr-enginf"))
    Store.open(tmp_path / "store")


def test_of_several_writers_one_wins(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    won: list[int] = []

    def write(number: int) -> None:
        if store.atomic_write("shards/x", bytes([number]) * 1000, replace=False):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read_bytes("shards/x") == bytes(won) * 1000
    assert store.list_files("") == ["adhmr-store.json", "shards/x"]
    assert store.atomic_write("shards/x", b"new")
    assert store.read_bytes("shards/x") == b"new"


def test_reading_what_is_gone(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nothing\.bin is not there"):
        Store.open(tmp_path / "store").read_bytes("nothing.bin")


def test_a_folder_that_goes_while_a_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two processes that do the same training, the first removes the run's folder under the other's feet."""
    store = Store.open(tmp_path / "store")
    points: list[str] = []

    def remove_once(point: str) -> None:
        points.append(point)
        if len(points) == 1:
            store.remove_folder("ray")

    monkeypatch.setattr(faults, "reach", remove_once)
    assert store.atomic_write("ray/run/progress.json", b"1")
    assert store.read_bytes("ray/run/progress.json") == b"1"
    assert points == ["file:ray", "file:ray"]


def test_a_folder_that_others_remove_and_write_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")
    store.atomic_write("ray/run/progress.json", b"1")
    remove = store.fs.rm
    troubles: list[OSError] = [OSError(errno.ENOTEMPTY, "Directory not empty"), FileNotFoundError("gone")]

    def trouble_first(path: str, recursive: bool) -> None:
        if troubles:
            raise troubles.pop()
        remove(path, recursive=recursive)

    monkeypatch.setattr(store.fs, "rm", trouble_first)
    store.remove_folder("ray")
    store.remove_folder("ray")
    assert troubles == []
    assert not store.exists("ray")
    troubles = [PermissionError(errno.EACCES, "no")]
    store.atomic_write("ray/run/progress.json", b"1")
    with pytest.raises(PermissionError):
        store.remove_folder("ray")


def test_files_that_are_being_written_are_no_whole_ones(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    for name in ("leases/a.json", "leases/.tmp-0-a.json"):
        store.atomic_write(name, b"x")
    assert store.whole_files("leases") == ["leases/a.json"]
    assert len(store.list_files("leases")) == 2
