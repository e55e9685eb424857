"""Files and listings of folders, on a disk and behind a URL."""

import os
import tracemalloc
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from schemas.errors import DataError
from tasks.ingest.source.files import content_digest, local_file
from tasks.ingest.source.folder import LISTED, Folder, is_picture


def test_a_file_behind_a_url_is_copied_and_a_local_one_is_not(tmp_path: Path) -> None:
    local = tmp_path / "a.npz"
    local.write_bytes(b"abc")
    assert local_file(str(local), tmp_path / "work", "file") == local
    with fsspec.filesystem("memory").open("/folder/a.npz", "wb") as file:
        file.write(b"abc")
    copy = local_file("memory://folder/a.npz", tmp_path / "work", "file")
    assert copy.parent == tmp_path / "work"
    assert (copy.suffix, copy.read_bytes()) == (".npz", b"abc")
    assert list(copy.parent.iterdir()) == [copy]
    for url in ("memory://folder/b.npz", str(tmp_path / "b.npz")):
        with pytest.raises(DataError, match=r"The file .*b\.npz is not there"):
            local_file(url, tmp_path / "work", "file")
    with pytest.raises(DataError, match=r"The file .* is a folder"):
        local_file(str(tmp_path), tmp_path / "work", "file")


def test_folders_are_listed_alike_here_and_behind_a_url(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    names = ["b.jpg", "a.jpg", "sub/deep/c.png", "sub/notes.txt", ".hidden/d.jpg"]
    for name in names:
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"123")
        with memory.open(f"/listed/{name}", "wb") as file:
            file.write(b"123")
    (tmp_path / "pictures" / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "pictures" / "lost.jpg").symlink_to("nowhere.jpg")
    with open(os.fsencode(tmp_path / "pictures") + b"/\xff.jpg", "wb"):
        pass
    here, there = Folder(str(tmp_path / "pictures")), Folder("memory://listed")
    kept = here.listing(is_picture)
    assert kept.column("key").to_pylist() == ["\\udcff.jpg", "a.jpg", "b.jpg", "link.jpg", "lost.jpg", "sub/deep/c.png"]
    assert there.listing(is_picture).column("key").to_pylist() == ["a.jpg", "b.jpg", "sub/deep/c.png"]
    assert there.listing(lambda name: True).column("key").to_pylist() == sorted(names)
    stat = os.stat(tmp_path / "pictures" / "a.jpg")
    assert kept.column("state").to_pylist()[1] == f"3 {stat.st_mtime}"
    assert here.listing(lambda name: False).schema == LISTED


def test_content_is_told_apart_by_bytes_of_files_and_states_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"1")
    (tmp_path / "rows.json").write_bytes(b"[]")

    def seen() -> str:
        return content_digest([str(tmp_path / "rows.json")], Folder(str(tmp_path / "pictures")).listing(is_picture))

    found = [seen()]
    (tmp_path / "rows.json").write_bytes(b"[1]")
    found.append(seen())
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"12")
    found.append(seen())
    (tmp_path / "pictures" / "b.jpg").write_bytes(b"12")
    found.append(seen())
    assert len(set(found)) == 4
    (tmp_path / "pictures" / "notes.txt").write_bytes(b"12")
    assert seen() == found[-1]
    with pytest.raises(DataError, match=r"none\.json can't be read"):
        content_digest([str(tmp_path / "none.json")])


@pytest.mark.slow
def test_a_listing_takes_few_bytes_a_picture(tmp_path: Path) -> None:
    count = 20_000
    for number in range(count):
        os.close(os.open(tmp_path / f"{number:012d}.jpg", os.O_CREAT | os.O_WRONLY))
    folder, held = Folder(str(tmp_path)), pa.total_allocated_bytes()
    tracemalloc.start()
    listing = folder.listing(is_picture)
    _, objects = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listing) == count
    # objects of Python stand for a piece of the listing at a time, however many pictures there are
    assert objects < 5 * 2**20
    assert (pa.total_allocated_bytes() - held) / count < 120
