"""A folder of pictures, on a disk or behind a URL: what lies in it, and which paths may be read from it."""

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsspec.core import url_to_fs

from schemas.digests import bytes_digest, digest
from schemas.errors import DataError
from schemas.ids import image_id

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""Endings by which a file counts as a picture where no table names it (case doesn't matter)."""


class RefusedError(Exception):
    """A unit that can't be ingested. `reason` is the same for all units that share it, `detail` says what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class FolderSource:
    """Pictures to ingest as one split of a data set.

    `images` is a folder (a path or a URL such as s3://bucket/pictures), `boxes` a table of boxes (.csv, .parquet,
    .json) or None: then each whole picture is one person's box. `labels` is a Parquet table as tasks/synthesize/write
    describes it, or None.
    """

    images: str
    boxes: str | None
    labels: str | None
    dataset: str
    split: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}"


class Folder:
    """A folder that can be read. Raises DataError if it isn't there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.fs, base = open_url(url)
        self.base = str(base).rstrip("/")
        self.is_local = (
            "file" in self.fs.protocol if isinstance(self.fs.protocol, tuple) else self.fs.protocol == "file"
        )
        self._real = os.path.realpath(self.base) + os.sep if self.is_local else ""
        if not self.fs.isdir(self.base):
            raise DataError(f"There is no folder of pictures at {url}.")

    def path(self, key: str) -> str:
        return f"{self.base}/{key}"

    def read(self, key: str) -> bytes:
        """The bytes of a file. Raises RefusedError if it is missing, not readable, or a link out of the folder."""
        path = self.path(key)
        if self.is_local and not os.path.realpath(path).startswith(self._real):
            raise RefusedError("path leaves the folder", f"{key} is a link to a place outside of {self.url}")
        try:
            return bytes(self.fs.cat_file(path))
        except FileNotFoundError:
            raise RefusedError("picture missing", f"there is no file {key} in {self.url}") from None
        except OSError as error:
            if not self.is_local:
                raise  # a store that can't be reached is no fault of the picture
            raise RefusedError("picture unreadable", f"{key}: {error.strerror or error}") from error

    def files(self) -> dict[str, Mapping[str, Any]]:
        """All files below the folder by name, sorted, with what the file system knows of them."""
        try:
            found = self.fs.find(self.base, detail=True)
        except OSError as error:
            raise DataError(f"The folder {self.url} can't be listed: {error}") from error
        start = len(self.base) + 1
        return {str(path)[start:]: found[path] for path in sorted(found)}


def open_url(url: str) -> tuple[Any, str]:
    """The file system of a URL or path and the path in it. Raises DataError for a URL that can't be opened."""
    try:
        # no cache of listings: a folder may have changed since it was last looked at
        fs, path = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise DataError(f"{url} is no path or URL that this installation can open: {error}") from error
    return fs, str(path)


def read_url(url: str, what: str) -> bytes:
    """The bytes of a file. Raises DataError that calls it `what` where it can't be read."""
    fs, path = open_url(url)
    try:
        return bytes(fs.cat_file(path))
    except FileNotFoundError as error:
        raise DataError(f"The {what} {url} is not there.") from error
    except OSError as error:
        raise DataError(f"The {what} {url} can't be read: {error}") from error


def is_picture(name: str) -> bool:
    """Whether a file counts as a picture by its name: a known ending, and not hidden."""
    return posixpath.splitext(name)[1].lower() in SUFFIXES and not any(part[0] == "." for part in name.split("/"))


def key_of(source: FolderSource, path: object) -> str:
    """The picture's key, from a path as a table gives it. Raises RefusedError for one that can't be in the folder."""
    if not isinstance(path, str) or not path.strip():
        raise RefusedError("path missing", f"a path is expected, not {path!r}")
    text = path.strip()
    if text.startswith(("/", "\\")) or "://" in text or ".." in text.replace("\\", "/").split("/"):
        raise RefusedError("path leaves the folder", f"{text!r}: give paths relative to the folder of pictures")
    key = posixpath.normpath(text)
    if not key.isprintable():
        raise RefusedError("path not usable", f"{printable(key)}: rename the file, without signs that can't be shown")
    try:
        image_id(source.dataset, source.split, key)
    except DataError as error:
        raise RefusedError("path not usable", str(error)) from error
    return key


def printable(text: str) -> str:
    """`text` with escapes for what can't be shown: control characters, bytes of a file name that are no UTF-8."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def fingerprint(source: FolderSource) -> str:
    """Digest of what the folder holds: names, sizes and times of all files, and the bytes of the tables.

    The pictures' bytes are not read: a picture that is replaced has another time or size.
    """
    listing = [
        [printable(name), int(about.get("size") or 0), str(about.get("mtime") or about.get("LastModified") or "")]
        for name, about in Folder(source.images).files().items()
    ]
    tables = [
        bytes_digest(read_url(url, what)) if url else None
        for url, what in ((source.boxes, "table of boxes"), (source.labels, "table of labels"))
    ]
    return digest({"files": listing, "tables": tables})
