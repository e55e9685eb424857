"""Files that people name, opened only if they are files: no pipe is waited for, and no device is touched."""

import errno
import os
import stat
from typing import BinaryIO, Final

_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NoFileError(OSError):
    """What is there is no file. Its text says what it is: "it is a named pipe, not a file"."""

    def __str__(self) -> str:
        return str(self.strerror)


def other_kind(mode: int) -> str | None:
    """What an entry of a folder is, by the mode that `os.stat` gives ("a named pipe"); None for a file."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "something else")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """The file at `path`, open for reading. Raises NoFileError for anything but a file, else OSError as `open` does.

    Looked at before it is opened, because opening a device may do something; and again once it is open, because
    another may have taken its place.
    """
    _refuse(os.stat(path).st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _refuse(os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file. Raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def _refuse(mode: int) -> None:
    kind = other_kind(mode)
    if kind is not None:
        raise NoFileError(errno.EINVAL, f"it is {kind}, not a file")
