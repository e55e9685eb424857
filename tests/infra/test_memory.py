"""What was freed between blocks that are still held goes back to the system."""

import ctypes

import psutil
import pytest

from infra.memory import give_memory_back

MIB = 1024**2


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library has no malloc_trim")
def test_what_was_freed_goes_back() -> None:
    process = psutil.Process()
    blocks = [bytes(16 * 1024) for _ in range(6400)]  # 100 MiB, too small each to be given back by itself
    last = bytes(16 * 1024)  # above them, so that the heap can't shrink
    del blocks
    before = process.memory_info().rss
    give_memory_back()
    assert before - process.memory_info().rss > 50 * MIB
    del last
