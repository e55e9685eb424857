"""Files and folders that are their owner's alone from the moment they are made, and secrets that are kept in them.

Rights are given where a thing is made and never afterwards: what others could open for a moment they may hold open for
ever. So a secret that others could have read is no secret any more, and a new one takes its place.
"""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def is_private(status: os.stat_result) -> bool:
    """Whether this user owns it, and no other has any right to it."""
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS


def read_secret(path: Path) -> str | None:
    """The secret that a file holds; None if it is missing or empty, no plain file, or may have been read by others."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(opened, encoding="utf-8", errors="replace") as file:
        status = os.fstat(opened)
        return file.read().strip() or None if stat.S_ISREG(status.st_mode) and is_private(status) else None


def write_secret(path: Path, secret: str) -> None:
    """Put a secret into a file of mode 0600, in place of what was there. Raises OSError."""
    written, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # which makes it with mode 0600
    try:
        with open(written, "w", encoding="utf-8") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(written)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def secret_of(path: Path, make: Callable[[], str]) -> str:
    """The secret of a file; a new one, of `make`, where there is none or where others could have read it.

    For one caller at a time: of two that find none, both would make one. Raises OSError.
    """
    secret = read_secret(path)
    if secret is None:
        secret = make()
        write_secret(path, secret)
    return secret


@contextmanager
def private_folder(name: str, parent: Path | None = None) -> Iterator[Path]:
    """A fresh folder of mode 0700 for the length of the block, among the system's temporary files or in `parent`.

    For programs that give all users rights to the folders they make: below this one no other user gets to them.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)
