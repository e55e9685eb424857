"""Ten times the rows, and ten times the pictures, in about the same memory (`make nightly`)."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[3]


def peak_bytes(folder: Path, rows: int, pictures: int) -> int:
    """The most memory (PSS, summed) that the program and all that it started had at once, sampled twice a second."""
    command = [sys.executable, "-m", "tests.tasks.ingest.many_rows", str(folder), str(rows), str(pictures)]
    process = subprocess.Popen(command, cwd=ROOT)
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(_held, _family(process.pid))))
        time.sleep(0.5)
    assert process.returncode == 0
    return most


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


@pytest.mark.parametrize(
    ("few", "many", "shared"),
    [(10_000, 100_000, True), (2_000, 20_000, False)],
    ids=["few pictures", "one for each row"],
)
def test_memory_hardly_grows(tmp_path: Path, few: int, many: int, shared: bool) -> None:
    less, more = (peak_bytes(tmp_path / str(rows), rows, 500 if shared else rows) for rows in (few, many))
    print(f"{few:,} rows: {less / 2**30:.2f} GiB, {many:,} rows: {more / 2**30:.2f} GiB, ratio {more / less:.2f}")
    assert more <= 1.5 * less
