"""A file of a machine's cache that grows by records, for what is worth keeping and made one by one.

Several processes write to it, one at a time, and all read. A record counts if it is whole: one that a process left half
written when it died is no record, and its place is written again. Nothing is taken back, and when the cache has no more
room the file stays as it is.
"""

import errno
import hashlib
import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

from infra.node_cache import NodeCache

_HEAD: Final = struct.Struct("<8s32s32sQ")
"""Mark, key, SHA-256 of key and data, bytes of data."""
_MARK: Final = b"record 1"
_GROWTH: Final = 64 * 2**20
"""Bytes that are asked of the cache at a time."""


class _Place(NamedTuple):
    start: int
    size: int
    sha256: bytes


class RecordFile:
    """Bytes by keys of 32 bytes. ConfigError where the cache's folder can't be written."""

    def __init__(self, cache: NodeCache, name: str) -> None:
        self._cache, self._name = cache, name
        self._kept = cache.open(name, Path.touch)  # as long as it is open, the cache does not remove it
        self._file = os.open(self._kept.path, os.O_RDWR)
        self._places: dict[bytes, _Place] = {}
        self._end = self._granted = 0
        self._may_grow = True
        self._look()
        self._granted = self._end

    def close(self) -> None:
        """The cache may remove the file."""
        os.close(self._file)
        self._kept.close()

    def get(self, key: bytes) -> bytes | None:
        """The data of a key; None if there is none, or if it is damaged."""
        if key not in self._places:
            self._look()
        place = self._places.get(key)
        if place is None:
            return None
        data = os.pread(self._file, place.size, place.start)
        if _sha256(key, data) == place.sha256:
            return data
        del self._places[key]
        return None

    def put(self, key: bytes, data: bytes) -> None:
        """Keep the data of a key, if there is room, and if no other process was first."""
        if not self._may_grow:
            return
        with self._cache.alone(self._name):
            self._look()
            if key in self._places:
                return
            os.ftruncate(self._file, self._end)  # what is after it was not written to its end, and its writer is dead
            record = _HEAD.pack(_MARK, key, _sha256(key, data), len(data)) + data
            if not self._has_room(len(record)):
                return
            try:
                _write(self._file, record, self._end)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                os.ftruncate(self._file, self._end)
                self._may_grow = False
            self._look()

    def _has_room(self, size: int) -> bool:
        if self._end + size > self._granted:
            growth = max(size, _GROWTH)
            self._may_grow = self._cache.make_room(growth)
            self._granted = self._end + growth if self._may_grow else self._granted
        return self._may_grow

    def _look(self) -> None:
        """Find the records that were added since the last look."""
        size = os.fstat(self._file).st_size
        while self._end + _HEAD.size <= size:
            mark, key, sha256, length = _HEAD.unpack(os.pread(self._file, _HEAD.size, self._end))
            start = self._end + _HEAD.size
            if mark != _MARK or start + length > size:
                return
            self._places[key] = _Place(start, length, sha256)
            self._end = start + length


def _write(file: int, data: bytes, start: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, start)
        rest, start = rest[written:], start + written


def _sha256(key: bytes, data: bytes) -> bytes:
    total = hashlib.sha256(key)
    total.update(data)
    return total.digest()
