"""The disk is full in the middle of a write: that is said, nothing is committed, and with room again the run goes on.

The disk is a tmpfs of a few MB, where this machine lets one be mounted; everywhere, a limit on the size of a file.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.store import Store
from tests.faults.chain import FIRST, go
from tests.faults.prepared import Prepared
from tests.faults.tables import different, visible

pytestmark = pytest.mark.slow
PAGE = 4096
BALLAST = "ballast"
"""A file beside the store that takes the room away."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 48 MB."""
    if shutil.which("mount") is None:
        pytest.skip("no tmpfs can be mounted here: there is no program mount")
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def leave(disk: Path, pages: int) -> None:
    """Fill the disk up to a rest of some pages."""
    free = os.statvfs(disk)
    with open(disk / BALLAST, "wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - pages * PAGE)))


POINTS = [
    pytest.param("synthesize", 0, id="synthesize-at-once"),
    pytest.param("synthesize", 60, id="synthesize-within", marks=pytest.mark.faults),
    pytest.param("ingest", 12, id="ingest-within", marks=pytest.mark.faults),
    pytest.param("train_base", 8, id="train_base-checkpoint"),
    pytest.param(f"{FIRST}generate", 8, id="generate-within"),
    pytest.param(f"{FIRST}generate", 16, id="generate-later", marks=pytest.mark.faults),
    pytest.param(f"{FIRST}generate", 24, id="generate-transactions", marks=pytest.mark.faults),
    pytest.param(f"{FIRST}compare", 4, id="compare-commit"),
    pytest.param(f"{FIRST}report", 6, id="report-page", marks=pytest.mark.faults),
]


@pytest.mark.parametrize(("title", "pages"), POINTS)
def test_told_nothing_committed_and_gone_on_with(prepared: Prepared, disk: Path, title: str, pages: int) -> None:
    url = str(disk / "store")
    shutil.rmtree(url, ignore_errors=True)
    (disk / BALLAST).unlink(missing_ok=True)
    shutil.copytree(prepared.snapshots / str(list(prepared.keys).index(title)), url)
    store = Store.open(url)
    before = visible(store)
    walk = ("tests.faults.chain:go", url, title, prepared.keys)
    leave(disk, pages)
    failed = prepared.nursery.do(*walk)
    assert (failed.returncode, failed.error) == (1, "StoreError"), failed
    assert "No space left on device" in failed.text
    fixed = {"rounds": before["rounds"]}
    assert different({**visible(store), **fixed}, {**before, **fixed}) == []
    (disk / BALLAST).unlink()
    again = prepared.nursery.do(*walk)
    assert (again.returncode, again.result) == (0, prepared.keys[title]), again
    assert different(visible(store), prepared.rows_after(title)) == []


def limited(url: str, title: str, known: dict[str, str], largest: int) -> str | None:
    """Walk to a stage with no file allowed to become larger than so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    return go(url, title, known)


@pytest.mark.parametrize(("title", "largest"), [(f"{FIRST}generate", 9000), ("train_base", 50_000)])
def test_a_limit_on_files_is_told_as_well(prepared: Prepared, title: str, largest: int) -> None:
    store = prepared.store
    prepared.enter(title)
    before = visible(store)
    arguments = (store.url, title, prepared.keys)
    failed = prepared.nursery.do("tests.faults.test_full_disk:limited", *arguments, largest)
    assert (failed.returncode, failed.error) == (1, "StoreError"), failed
    assert "File too large" in failed.text
    fixed = {"rounds": before["rounds"]}
    assert different({**visible(store), **fixed}, {**before, **fixed}) == []
    assert prepared.nursery.do("tests.faults.chain:go", *arguments).result == prepared.keys[title]
    assert different(visible(store), prepared.rows_after(title)) == []
