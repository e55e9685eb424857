"""A file that grows by records: whole ones count, whoever wrote them, and what a dead writer left is no record."""

import multiprocessing
from pathlib import Path

import pytest

from infra import record_file
from infra.node_cache import NodeCache
from infra.record_file import RecordFile

KEYS = [bytes([number]) * 32 for number in range(8)]


@pytest.fixture
def cache(tmp_path: Path) -> NodeCache:
    return NodeCache(tmp_path / "cache", 2**30)


def test_what_one_process_keeps_another_finds(cache: NodeCache) -> None:
    one, other = RecordFile(cache, "some.records"), RecordFile(cache, "some.records")
    assert one.get(KEYS[0]) is None
    one.put(KEYS[0], b"first")
    other.put(KEYS[1], b"second" * 1000)
    other.put(KEYS[0], b"another")
    assert [one.get(key) for key in KEYS[:3]] == [b"first", b"second" * 1000, None]
    assert RecordFile(cache, "some.records").get(KEYS[1]) == b"second" * 1000


@pytest.mark.parametrize("left", [1, 20, 79, 80, 81, 100])
def test_what_was_half_written_is_no_record(cache: NodeCache, left: int) -> None:
    first = RecordFile(cache, "some.records")
    first.put(KEYS[0], b"whole")
    end = (cache.folder / "some.records").stat().st_size
    first.put(KEYS[1], b"half written " * 10)
    with open(cache.folder / "some.records", "r+b") as file:
        file.truncate(end + left)
    again = RecordFile(cache, "some.records")
    assert [again.get(key) for key in KEYS[:2]] == [b"whole", None]
    again.put(KEYS[2], b"after")
    fresh = RecordFile(cache, "some.records")
    assert [fresh.get(key) for key in KEYS[:3]] == [b"whole", None, b"after"]
    assert first.get(KEYS[1]) is None, "nor for one who saw it whole"


def test_a_damaged_record_is_none(cache: NodeCache) -> None:
    records = RecordFile(cache, "some.records")
    records.put(KEYS[0], b"abcdefgh")
    with open(cache.folder / "some.records", "r+b") as file:
        file.seek(-3, 2)
        file.write(b"?")
    assert records.get(KEYS[0]) is None
    records.put(KEYS[0], b"made again")
    assert records.get(KEYS[0]) == b"made again"


def test_it_grows_as_far_as_the_cache_has_room(cache: NodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_file, "_GROWTH", 300)
    small = NodeCache(cache.folder, 1000)
    small.open("unused", lambda path: path.write_bytes(b"x" * 500) and None).close()
    records = RecordFile(small, "some.records")
    for key in KEYS:
        records.put(key, b"y" * 100)
    kept = [key for key in KEYS if records.get(key)]
    assert kept == KEYS[: len(kept)]
    assert 3 <= len(kept) < len(KEYS)
    assert sum(path.stat().st_size for path in small.folder.iterdir()) <= 1000
    assert not (small.folder / "unused").exists()


def _put(folder: Path, number: int) -> None:
    records = RecordFile(NodeCache(folder, 2**30), "some.records")
    for key in KEYS:
        records.put(bytes([number]) + key[1:], bytes([number]) * 10_000)


def test_several_processes_write(cache: NodeCache) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_put, args=(cache.folder, number)) for number in range(20, 24)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    records = RecordFile(cache, "some.records")
    for number in range(20, 24):
        for key in KEYS:
            assert records.get(bytes([number]) + key[1:]) == bytes([number]) * 10_000
