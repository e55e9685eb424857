"""Files that a machine keeps of a store, so that they are read over a network and put into form once: a folder on its
own disk, emptied by size.

A file is there whole or not at all, under a name that says what is in it, so that it is never out of date. Of several
processes that need the same one, one makes it while the others wait. Whoever uses a file holds a lock on it, which ends
with the process; what nobody uses may go, the longest unused first.

How many bytes the files have is kept in one of them, so that nobody has to look at all of them for each that is new.
"""

import fcntl
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from infra import faults
from infra.store import may_not_write, naming_full_disks
from schemas.errors import ConfigError

VARIABLE: Final = "ADHMR_CACHE"
_LOCK: Final = ".lock"
_LOCKS: Final = 64
"""Locks for the makers of the files of a kind: they stay, so there is not one for each file."""
_TOTAL: Final = f"total{_LOCK}"
"""A lock that holds a number: at least as many bytes as the files have, but for those of makers that were killed."""
_SPARE: Final = 16
"""Of so many parts of the limit one is made free where something has to go: else something had to for each new file."""
_UNFINISHED: Final = ".unfinished"
_GIB: Final = 1024**3
_IN_MEMORY: Final = 16 * 1024**2
"""Bytes of an array that is not worth a file."""


_looked: Final[set[Path]] = set()
"""Folders whose files this process has looked at."""


@dataclass(frozen=True)
class Kept:
    """A file of the cache that stays as long as this is open."""

    path: Path
    opened: BinaryIO

    def close(self) -> None:
        """The cache may remove the file."""
        self.opened.close()


@dataclass(frozen=True)
class NodeCache:
    """The folder, and how many bytes of files that nobody uses it may keep."""

    folder: Path
    limit_bytes: int

    @staticmethod
    def of(folder: str | None, limit_gib: float) -> "NodeCache":
        """The cache in `folder`; else where ADHMR_CACHE of this machine says, else in the user's cache folder."""
        named = folder or os.environ.get(VARIABLE)
        if named:
            return NodeCache(Path(named).expanduser().absolute(), int(limit_gib * _GIB))
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return NodeCache(Path(caches) / "adhmr-engine", int(limit_gib * _GIB))

    def open(self, name: str, make: Callable[[Path], None]) -> Kept:
        """The file with this name; `make` writes it, under another one, where it is not there.

        ConfigError where the folder can't be written, StoreError where its disk is full.
        """
        path = self.folder / name
        while (kept := _held(path)) is None:
            with self.alone(name):
                if not path.exists():
                    self._count(self._make(path, make), path)
        os.utime(kept.opened.fileno())  # what was used last goes last
        return kept

    def make_room(self, size: int) -> bool:
        """Whether there is room for so many bytes more, after what nobody uses went as far as it had to."""
        self._prepare()
        return self._count(size)

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Alone of all processes in making or writing this file."""
        self._prepare()
        with open(self._lock(name), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def discard(self, kept: Kept) -> None:
        """Remove a file that turned out to be damaged."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(kept.path), os.fstat(kept.opened.fileno())):
                kept.path.unlink()
        kept.close()

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array to be filled: a large one is in a file without a name, so that it takes no memory that is scarce."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size <= _IN_MEMORY:
            return np.empty(shape, dtype)
        self._prepare()
        with naming_full_disks(self.folder), tempfile.TemporaryFile(dir=self.folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a disk that is full says so now, and not by a signal later
            return np.memmap(file, dtype, "r+", shape=shape)

    def _make(self, path: Path, make: Callable[[Path], None]) -> int:
        """Make a file; its bytes."""
        temporary = path.with_name(f"{path.name}{_UNFINISHED}")
        try:
            with naming_full_disks(path):
                make(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            faults.reach(f"cached:{path.name.split('-')[0]}")
            os.replace(temporary, path)
            return size
        finally:
            temporary.unlink(missing_ok=True)

    def _lock(self, name: str) -> Path:
        """What the maker of a file holds: never that of another kind, as making crops may make copies of files."""
        kind = name.partition("-")[0] if "-" in name else "other"
        return self.folder / f"{kind}-{zlib.crc32(name.encode()) % _LOCKS:02}{_LOCK}"

    def _count(self, size: int, new: Path | None = None) -> bool:
        """Count so many bytes more, those of the file that is `new` or that are to come, and make room for them.
        Whether there is; if not, none that are to come are counted."""
        with open(self.folder / _TOTAL, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = file.read()
            before = int(known) if known.isdigit() and self.folder in _looked else None
            if before is None or before + size > self.limit_bytes:
                before = self._evict(new, size) - (size if new else 0)
                _looked.add(self.folder)  # once in each process: some may have died before they had counted
            fits = before + size <= self.limit_bytes
            file.truncate(0)
            file.write(b"%d" % (before + size if fits or new else before))
        return fits

    def _evict(self, new: Path | None, size: int) -> int:
        """Where the files, and bytes that are to come (`size`, if none is `new`), are more than the limit, remove those
        that were used longest ago; none that is in use. The bytes that are left."""
        files = []
        for path in self.folder.iterdir():
            if path.name.endswith(_LOCK):
                continue
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime_ns, path, status.st_size))
        left = sum(size for _, _, size in files)
        most = self.limit_bytes - (0 if new else size)
        enough = most if left <= most else most - self.limit_bytes // _SPARE
        for _, path, size in sorted(files):
            if path.name.endswith(_UNFINISHED):  # its maker died, unless it holds the lock
                gone = _remove(path, self._lock(path.name.removesuffix(_UNFINISHED)))
            else:
                gone = left > enough and path != new and _remove(path, path)
            left -= size if gone else 0
        return left

    def _prepare(self) -> None:
        """Make the folder. ConfigError where it can't be made, or not be written to."""
        problem = ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if not may_not_write(error) and not isinstance(error, NotADirectoryError | FileExistsError):
                raise
            problem = f"{error.strerror}"
        if problem or not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigError(
                f"The cache {self.folder} can't be written ({problem or 'no permission'}): name another folder by "
                f"ray.cache_folder, or by {VARIABLE} on this machine."
            )


def _held(path: Path) -> Kept | None:
    """The file, locked against removal; None if it isn't there."""
    while True:
        try:
            opened = open(path, "rb")  # noqa: SIM115 - it is what holds the lock
        except (FileNotFoundError, NotADirectoryError):
            return None
        fcntl.flock(opened, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(opened.fileno())):
                return Kept(path, opened)
        opened.close()  # it was removed, or another took its name, before it was locked


def _remove(path: Path, lock: Path) -> bool:
    """Whether the file could be removed: nobody holds the lock."""
    with suppress(FileNotFoundError, BlockingIOError), open(lock, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        return True
    return False
