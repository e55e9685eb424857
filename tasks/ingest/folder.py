"""A folder of pictures, on a disk or behind a URL: what lies in it, and which paths may be read from it.

It may have a million pictures, so what is known of them goes into Arrow's columns while it is listed (about 60 bytes a
picture with a short name). Of a folder behind a URL, the file system's own listing stands in memory meanwhile, too.
"""

import os
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import pyarrow as pa

from schemas.errors import DataError
from schemas.ids import image_id
from tasks.ingest.files import open_url

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""Endings by which a file counts as a picture where no table names it (case doesn't matter)."""
LISTED: Final = pa.schema([("key", pa.string()), ("state", pa.string())])
_AT_ONCE: Final = 10_000


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

    def files(self) -> Iterator[tuple[str, str]]:
        """All files below the folder, in no order: name, and what tells without reading that one was replaced (size
        and time)."""
        try:
            if self.is_local:
                yield from _local_files(self.base)
                return
            for path, about in self.fs.find(self.base, detail=True).items():
                time = about.get("ETag") or about.get("mtime") or about.get("LastModified")
                yield str(path)[len(self.base) + 1 :], f"{about.get('size') or 0} {time}"
        except OSError as error:
            raise DataError(f"The folder {self.url} can't be listed: {error}") from error

    def listing(self, counts: Callable[[str], bool]) -> pa.Table:
        """The files whose name `counts`, sorted: `key` (the name, printable) and `state` as `files` tells it."""
        found = ((printable(name), state) for name, state in self.files() if counts(name))
        parts = [LISTED.empty_table()]
        while some := list(islice(found, _AT_ONCE)):
            keys, states = zip(*some, strict=True)
            parts.append(pa.table([pa.array(keys, pa.string()), pa.array(states, pa.string())], schema=LISTED))
        return pa.concat_tables(parts).sort_by("key")


def _local_files(folder: str, start: str = "") -> Iterator[tuple[str, str]]:
    inner = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
                continue
            about = entry.stat(follow_symlinks=False)
            linked = entry.is_symlink() and os.path.exists(entry.path)
            yield start + entry.name, f"{os.stat(entry.path).st_size if linked else about.st_size} {about.st_mtime}"
    for name in inner:
        if os.access(f"{folder}/{name}", os.R_OK | os.X_OK):  # a disk's lost+found is no reason to stop
            yield from _local_files(f"{folder}/{name}", f"{start}{name}/")


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
