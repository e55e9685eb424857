"""Tests have their files in memory where there is a file system for it, and room; else where pytest has them."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests import memory


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the system says of a folder; to be changed."""
    about = {"fstype": "tmpfs", "free": memory.ROOM_BYTES, "available": memory.ROOM_BYTES}

    def disks(all: bool) -> list[Any]:
        return [SimpleNamespace(mountpoint=str(tmp_path), fstype=about["fstype"])]

    monkeypatch.setattr(psutil, "disk_partitions", disks)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=about["free"]))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=about["available"]))
    return about


def test_memory_with_room_is_taken(tmp_path: Path, mounted: dict[str, Any]) -> None:
    assert memory.root(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("what", "value"),
    [("fstype", "ext4"), ("free", 64 * 1024**2), ("available", memory.ROOM_BYTES - 1)],
    ids=["a disk", "as small as Docker's", "memory that others use"],
)
def test_else_it_is_not(tmp_path: Path, mounted: dict[str, Any], what: str, value: Any) -> None:
    mounted[what] = value
    assert memory.root(tmp_path) is None
    assert memory.root(tmp_path / "not there") is None
