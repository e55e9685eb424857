"""A hundred thousand rows in the memory of ten thousand (`make nightly`)."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[3]


def peak_bytes(folder: Path, rows: int) -> int:
    """The most memory (PSS, summed) that the program and all that it started had at once, sampled twice a second."""
    command = [sys.executable, "-m", "tests.tasks.ingest.many_rows", str(folder), str(rows)]
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


def test_memory_hardly_grows_with_the_rows(tmp_path: Path) -> None:
    few, many = (peak_bytes(tmp_path / str(rows), rows) for rows in (10_000, 100_000))
    print(f"10,000 rows: {few / 2**30:.2f} GiB, 100,000 rows: {many / 2**30:.2f} GiB, ratio {many / few:.2f}")
    assert many <= 1.5 * few
