"""Copies of files of crops: fetched once, compared with the log, and done without where a machine has no room."""

import re
from pathlib import Path

import pytest

from infra import node_copies
from infra.data_files import DataFile
from infra.intact import LostFileError
from infra.node_cache import NodeCache
from infra.node_copies import copied, copy_name, with_copies
from infra.store import Store
from infra.tables import live_files, read
from tests.infra.buckets import OURS, s3_server
from tests.tasks import many_people
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow


def crops(store: Store) -> list[bytes]:
    found: list[bytes] = read(store, "instances", columns=["crop"]).column("crop").to_pylist()
    return found


def test_crops_come_over_the_network_once(
    shared_micro_store: MicroStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_people, "_SHARD", 4)
    cache = NodeCache(tmp_path / "cache", 2**30)
    assert with_copies(shared_micro_store.store, cache).copies is None, "a folder needs no copies"
    with s3_server(monkeypatch):
        far = Store.open(f"s3://{OURS}/copies")
        many_people.make_many(far, shared_micro_store.store, 12, crop_size=64)
        store, expected = with_copies(far, cache), crops(far)
        files = live_files(far, "instances")
        names = {copy_name(file) for file in files}
        assert copied(str(cache.folder), names) == set()
        read(store, "instances", columns=["instance_id"])
        assert copied(str(cache.folder), names) == set(), "ids alone need no crops"
        assert crops(store) == expected
        assert copied(str(cache.folder), names) == names
        with monkeypatch.context() as patch:
            patch.setattr(store.fs, "open", pytest.fail)
            assert crops(store) == expected

        damaged = cache.folder / copy_name(files[0])
        monkeypatch.setattr(node_copies, "_intact", set())
        damaged.write_bytes(b"x" * files[0].size)
        assert crops(store) == expected, "fetched anew"

        full = tmp_path / "file"
        full.write_bytes(b"")
        with pytest.warns(UserWarning, match="No copy of s3://.* is kept: The cache .* can't be written"):
            assert crops(with_copies(far, NodeCache(full, 1))) == expected

        lost = with_copies(far, NodeCache(tmp_path / "other", 2**30))
        far.remove(files[0].name)
        with pytest.raises(LostFileError, match=re.escape(files[0].path)):
            crops(lost)
        assert crops(store) == expected, "a copy is what was written"


def test_other_bytes_on_s3_are_noticed(
    shared_micro_store: MicroStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(monkeypatch):
        far = Store.open(f"s3://{OURS}/copies")
        many_people.make_many(far, shared_micro_store.store, 4, crop_size=64)
        (file,) = live_files(far, "instances")
        flip(far, file)
        with pytest.raises(LostFileError, match="holds other bytes than were written"):
            crops(with_copies(far, NodeCache(tmp_path, 2**30)))
        assert not [path for path in tmp_path.glob("copy-*") if path.stat().st_size]


def flip(store: Store, file: DataFile) -> None:
    data = bytearray(store.read_bytes(file.name))
    data[len(data) // 2] ^= 1
    store.atomic_write(file.name, bytes(data))
