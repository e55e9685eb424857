"""The machine's cache: whole files under names that say what is in them, made once, and evicted when nobody looks."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra import node_cache
from infra.node_cache import VARIABLE, NodeCache
from schemas.errors import ConfigError

LIMIT = 100


@pytest.fixture
def cache(tmp_path: Path) -> NodeCache:
    return NodeCache(tmp_path / "cache", LIMIT)


def of_bytes(size: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(b"x" * size) and None


def kept(cache: NodeCache) -> list[str]:
    return sorted(path.name for path in cache.folder.iterdir() if path.suffix != ".lock")


def test_what_is_there_is_not_made_again(cache: NodeCache) -> None:
    cache.open("one", of_bytes(7)).close()
    again = cache.open("one", pytest.fail)
    assert again.path.read_bytes() == b"x" * 7


def test_a_maker_that_fails_leaves_nothing(cache: NodeCache) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        cache.open("one", fail)
    assert kept(cache) == []


def test_what_was_used_last_stays_and_what_is_in_use(cache: NodeCache) -> None:
    used = cache.open("used", of_bytes(30))
    for name in ("first", "second"):
        cache.open(name, of_bytes(30)).close()
    old = time.time_ns() - 10**12
    for age, name in enumerate(("second", "first", "used")):
        os.utime(cache.folder / name, ns=(old - age, old - age))
    cache.open("third", of_bytes(30)).close()
    assert kept(cache) == ["second", "third", "used"]
    used.close()
    cache.open("larger than all", of_bytes(LIMIT + 1)).close()
    assert kept(cache) == ["larger than all"]


def test_a_file_of_a_maker_that_died_goes(cache: NodeCache) -> None:
    cache.folder.mkdir()
    (cache.folder / "dead.unfinished").write_bytes(b"half")
    with cache.alone("dead"):
        pass
    cache.open("one", of_bytes(1)).close()
    assert kept(cache) == ["one"]


def test_many_files_are_not_looked_at_for_each_that_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the limit never but once, and above it once for every sixteenth of it; locks don't grow with the files."""
    cache, looks, look = NodeCache(tmp_path / "cache", 160), list[int](), NodeCache._evict

    def counted(self: NodeCache, new: Path | None, size: int) -> int:
        looks.append(look(self, new, size))
        return looks[-1]

    monkeypatch.setattr(NodeCache, "_evict", counted)
    for number in range(160):
        cache.open(f"copy-{number}", of_bytes(1)).close()
    assert len(looks) == 1
    for number in range(160, 240):
        cache.open(f"copy-{number}", of_bytes(1)).close()
    assert len(looks) == 1 + 80 // 11 + 1
    assert 150 <= len(kept(cache)) <= 160
    assert len(list(cache.folder.iterdir())) - len(kept(cache)) <= 64 + 1


def test_what_another_process_made_counts(cache: NodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.open("one", of_bytes(40)).close()
    assert cache.make_room(50)  # for what the other process writes into a file that it has
    assert not cache.make_room(61 + 40)
    for number in range(3):  # what was to come and came not counts until something has to go
        cache.open(f"another-{number}", of_bytes(30)).close()
    assert sum(len((cache.folder / name).read_bytes()) for name in kept(cache)) <= LIMIT
    monkeypatch.setattr(node_cache, "_looked", set())  # another process: it looks once
    (cache.folder / "unfinished").write_bytes(b"x" * LIMIT)
    cache.open("last", of_bytes(1)).close()
    assert sum(len((cache.folder / name).read_bytes()) for name in kept(cache)) <= LIMIT


def test_discarded_it_is_made_anew(cache: NodeCache) -> None:
    first, second = cache.open("one", of_bytes(1)), cache.open("one", of_bytes(1))
    cache.discard(first)
    anew = cache.open("one", of_bytes(2))
    cache.discard(second)  # whoever held the same damaged file must not remove what took its place
    assert anew.path.read_bytes() == b"xx"


def _open(folder: Path, made: Path, together: Any) -> None:
    def make(path: Path) -> None:
        with open(made, "a") as log:
            log.write("made\n")
        time.sleep(0.2)
        path.write_bytes(b"whole")

    together.wait(60)
    assert NodeCache(folder, LIMIT).open("one", make).path.read_bytes() == b"whole"


def test_of_several_processes_one_makes_it(cache: NodeCache, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")  # a fork of a process that Ray has been in may not live
    together = spawn.Barrier(3)
    processes = [spawn.Process(target=_open, args=(cache.folder, tmp_path / "log", together)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert NodeCache.of(None, 1.5) == NodeCache(tmp_path / ".cache/adhmr-engine", 3 * 2**29)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert NodeCache.of(None, 1).folder == tmp_path / "xdg/adhmr-engine"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "named"))
    assert NodeCache.of(None, 1).folder == tmp_path / "named"
    assert NodeCache.of("~/other", 1).folder == tmp_path / "other"


def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"The cache .*file/cache can.t be written .*: name another folder"):
        NodeCache(tmp_path / "file" / "cache", 1).open("one", of_bytes(1))


def test_large_arrays_are_no_memory(cache: NodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not isinstance(cache.array((3, 4), np.float32), np.memmap)
    monkeypatch.setattr(node_cache, "_IN_MEMORY", 0)
    array = cache.array((3, 4), np.float32)
    assert isinstance(array, np.memmap)
    array[1] = 7
    np.testing.assert_array_equal(array.sum(1), [0, 28, 0])
    assert list(cache.folder.iterdir()) == []
