"""Memory that this process has freed, and that its allocators keep."""

import ctypes
from collections.abc import Callable
from functools import cache

import pyarrow as pa


def give_memory_back() -> None:
    """Hand the system what Arrow and the C library keep for later: between two stages of a large store it is a large
    part of what the process seems to take. C libraries other than glibc have no call for it."""
    pa.default_memory_pool().release_unused()
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
