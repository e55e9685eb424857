"""Files on a disk or behind a URL, whatever they hold: opened, read, copied here, and digested."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa
from fsspec.core import url_to_fs

from schemas.digests import digest, stream_digest
from schemas.errors import DataError
from schemas.regular_files import open_regular, other_kind

LARGEST_TABLE: Final = 1 << 31
"""Bytes of a table that is in memory as a whole; the labels of a million people have half of that."""
_UNPACKED_FREELY, _UNPACKED_TIMES = 1 << 30, 200
_PIECE: Final = 1 << 20
_AT_ONCE: Final = 10_000


def open_url(url: str) -> tuple[Any, str]:
    """The file system of a URL or path and the path in it. Raises DataError for a URL that can't be opened."""
    try:
        # no cache of listings: a folder may have changed since it was last looked at
        fs, path = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise DataError(f"{url} is no path or URL that this installation can open: {error}") from error
    return fs, str(path)


def is_local(fs: Any) -> bool:
    """Whether a file system is that of this machine."""
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def open_file(fs: Any, path: str) -> BinaryIO:
    """A file of a file system, open for reading. OSError where there is none; of a pipe or device: NoFileError."""
    return open_regular(path) if is_local(fs) else cast(BinaryIO, fs.open(path, "rb"))


def most_unpacked(size: int) -> int:
    """Bytes that a packed file of `size` bytes may unpack to: poses and paths don't shrink further."""
    return max(_UNPACKED_FREELY, _UNPACKED_TIMES * size)


def local_file(url: str, work: Path, what: str) -> Path:
    """The file of a path or URL as a local path: itself if it is one, else a copy in the folder `work`.

    Raises DataError that calls it `what` where it isn't there, is no file (a folder, a pipe) or can't be read.
    """
    fs, path = open_url(url)
    try:
        if not fs.exists(path):
            raise DataError(f"The {what} {url} is not there.")
        kind = other_kind(os.stat(path).st_mode) if is_local(fs) else None if fs.isfile(path) else "a folder"
        if kind is not None:
            raise DataError(f"The {what} {url} is {kind}; a file is expected.")
        if is_local(fs):
            return Path(path)
        target = work / f"{digest(url)[:16]}-{Path(path).name[-100:]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        with fs.open(path, "rb") as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink, _PIECE)
        part.replace(target)
    except OSError as error:
        raise DataError(f"The {what} {url} can't be read: {error}") from error
    return target


def read_url(url: str, what: str, most: int = LARGEST_TABLE) -> bytes:
    """The bytes of a file. Raises DataError that calls it `what` where it can't be read or has more than `most`."""
    fs, path = open_url(url)
    try:
        with open_file(fs, path) as file:
            if (fs.size(path) or 0) > most:
                raise DataError(f"The {what} {url} has more than {most} bytes, the most that are read. Split it.")
            return file.read()
    except FileNotFoundError as error:
        raise DataError(f"The {what} {url} is not there.") from error
    except OSError as error:
        raise DataError(f"The {what} {url} can't be read: {error}") from error


def content_digest(files: Sequence[str], listing: pa.Table | None = None) -> str:
    """Digest of what a source is: the bytes of its files, and of pictures (`Folder.listing`) names, sizes and times.

    The pictures' bytes are not read: a picture that is replaced has another time or size.
    """
    read = []
    for url in files:
        fs, path = open_url(url)
        try:
            with open_file(fs, path) as opened:
                read.append(stream_digest(opened))
        except OSError as error:
            raise DataError(f"{url} can't be read: {error}") from error
    listed = hashlib.sha256()
    for batch in [] if listing is None else listing.to_batches(_AT_ONCE):
        for key, state in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            listed.update(f"{key}\0{state}\n".encode())
    return digest({"files": read, "pictures": listed.hexdigest()})
