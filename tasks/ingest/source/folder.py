"""A folder of pictures, on a disk or behind a URL: what lies in it, and which paths may be read from it.

It may have a million pictures, so what is known of them goes into Arrow's columns while it is listed (about 60 bytes a
picture with a short name). Of a folder behind a URL, the file system's own listing is in memory meanwhile, too.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final

import pyarrow as pa

from schemas.errors import ConfigError, DataError
from schemas.ids import image_id
from schemas.regular_files import read_regular
from tasks.ingest.source.files import is_local, open_url

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
        *(".gif", ".avif"),
    }
)
"""Endings by which a file counts as a picture where no table names it (case doesn't matter)."""
OTHER_SUFFIXES: Final = frozenset(
    {
        *(".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".jxr", ".psd", ".exr", ".hdr", ".tga"),
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef"),
        *(".srw", ".x3f", ".raw", ".rwl", ".3fr", ".iiq", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi", ".pcx"),
        *(".ico", ".icns", ".dds", ".svg", ".xcf"),
    }
)
"""Endings of pictures that are not read."""
LISTED: Final = pa.schema([("key", pa.string()), ("state", pa.string())])
UNREAD_TYPE, LINKED_FOLDER, LOCKED_FOLDER = "picture type not read", "linked folder", "folder not readable"
OTHER_CLASS, LOW_SCORE = "not a person", "score too low"
LEFT_OUT_FRAME, NO_PARAMETERS = "frame left out", "no parameters"
LEFT_OUT: Final = frozenset(
    {UNREAD_TYPE, LINKED_FOLDER, LOCKED_FOLDER, OTHER_CLASS, LOW_SCORE, LEFT_OUT_FRAME, NO_PARAMETERS}
)
"""Reasons (outcome filtered) of what is not looked at: things in a folder of pictures, boxes of a detector,
frames that a file itself calls bad, people of whom it says nothing."""
_AT_ONCE: Final = 10_000
_LARGEST: Final = 1 << 30
"""Bytes of a picture's file; one of 100 million pixels has 300 million without any packing."""
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class RefusedError(Exception):
    """A unit that can't be ingested. `reason` is the same for all units that share it, `detail` says what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class LeftOut:
    """Something in a folder of pictures that is not looked at: its name, why, and what was seen."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class PicturePlace:
    """The folder of pictures (a path or a URL such as s3://bucket/pictures) of one split of a data set."""

    images: str
    dataset: str
    split: str


class Folder:
    """A folder that can be read. Raises DataError if it isn't there.

    Of links in it, those count that stay within it; with `follow_links`, a folder (most likely one above), also those
    that stay within that, links to folders included.
    """

    def __init__(self, url: str, follow_links: str | None = None) -> None:
        self.url = url
        self.fs, base = open_url(url)
        self.base = base.rstrip("/")
        self.is_local = is_local(self.fs)
        if follow_links is not None and not self.is_local:
            raise ConfigError(f"There are no links to follow behind a URL such as {url}: leave --follow-links out.")
        self._root = follow_links
        roots = [self.base or "/", *([follow_links] if follow_links else [])] if self.is_local else []
        self._inside = tuple(os.path.realpath(root).rstrip(os.sep) + os.sep for root in roots)
        if not self.fs.isdir(self.base):
            raise DataError(f"There is no folder of pictures at {url}.")

    def path(self, key: str) -> str:
        return f"{self.base}/{key}"

    def read(self, key: str) -> bytes:
        """The bytes of a file. Raises RefusedError if it is missing, no file, too large, or a link that leads out."""
        path = self.path(key)
        try:
            if not self.is_local:
                return bytes(self.fs.cat_file(path))
            real = os.path.realpath(path)
            if not self._holds(real):
                raise RefusedError("path leaves the folder", f"{key} is, or lies behind, {self._leads_out(real)}")
            if os.stat(real).st_size > _LARGEST:
                raise RefusedError("picture too large", f"{key}: more than {_LARGEST} bytes")
            return read_regular(real)
        except FileNotFoundError:
            raise RefusedError("picture missing", f"there is no file {key} in {self.url}") from None
        except OSError as error:
            if not self.is_local:
                raise  # a store that can't be reached is no fault of the picture
            raise RefusedError("picture unreadable", f"{key}: {error.strerror or error}") from error

    def files(self, left_out: Callable[[LeftOut], None] | None = None) -> Iterator[tuple[str, str]]:
        """All files below the folder, in no order: name, and a state that changes when one is replaced (size and
        time), known without reading. `left_out` gets the folders that are not looked into."""
        try:
            if self.is_local:
                yield from self._local_files(left_out or (lambda _: None))
                return
            for path, about in self.fs.find(self.base, detail=True).items():
                time = about.get("ETag") or about.get("mtime") or about.get("LastModified")
                yield str(path)[len(self.base) + 1 :], f"{about.get('size') or 0} {time}"
        except OSError as error:
            raise DataError(f"The folder {self.url} can't be listed: {error}") from error

    def _local_files(self, left_out: Callable[[LeftOut], None]) -> Iterator[tuple[str, str]]:
        """Those of the folder itself, then those behind links to folders, each folder under one name alone: so a link
        to a folder above comes to an end, and many that lead to each other do, too."""
        links: list[str] = []
        visited: set[tuple[int, int]] = set()
        yield from self._below("", links, visited, left_out)
        while links:
            now, links = sorted(links), []
            for name in now:
                real = os.path.realpath(self.path(name))
                if not self._holds(real):
                    left_out(LeftOut(name, LINKED_FOLDER, f"{name} is {self._leads_out(real)}"))
                elif self._root is not None:
                    yield from self._below(f"{name}/", links, visited, left_out)

    def _below(
        self, start: str, links: list[str], visited: set[tuple[int, int]], left_out: Callable[[LeftOut], None]
    ) -> Iterator[tuple[str, str]]:
        """The files of the folder `start` and those below, unless it was `visited`; links to folders into `links`."""
        place, inner = self.path(start), []
        if start and not os.access(place, os.R_OK | os.X_OK):  # a disk's lost+found is no reason to stop
            left_out(LeftOut(start[:-1], LOCKED_FOLDER, f"{start[:-1]} may not be read by this user"))
            return
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in visited:
            return
        visited.add((about.st_dev, about.st_ino))
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    inner.append(entry.name)
                elif entry.is_symlink() and os.path.isdir(entry.path):
                    links.append(start + entry.name)
                else:
                    yield start + entry.name, _state(entry)
        for name in inner:
            yield from self._below(f"{start}{name}/", links, visited, left_out)

    def _holds(self, real: str) -> bool:
        """Whether a path without links is in the folder, or where links may lead."""
        return f"{real}{os.sep}".startswith(self._inside)

    def _leads_out(self, real: str) -> str:
        if self._root is not None:
            return f"a link to {real}, which is neither in {self.url} nor in {self._root} (--follow-links)"
        return f"a link to {real}, outside of {self.url}: --follow-links DIR takes those that stay within DIR"

    def listing(self, counts: Callable[[str], bool]) -> pa.Table:
        """The files whose name `counts`, sorted: `key` (the name, printable) and `state` as `files` gives it."""
        files = ((printable(name), state) for name, state in self.files() if counts(name))
        parts = [LISTED.empty_table()]
        while some := list(islice(files, _AT_ONCE)):
            parts.append(pa.table(list(zip(*some, strict=True)), schema=LISTED))
        return pa.concat_tables(parts).sort_by("key")


def _state(entry: os.DirEntry[str]) -> str:
    about = entry.stat(follow_symlinks=False)
    linked = entry.is_symlink() and os.path.exists(entry.path)
    return f"{os.stat(entry.path).st_size if linked else about.st_size} {about.st_mtime}"


def is_picture(name: str) -> bool:
    """Whether a file counts as a picture by its name: a known ending, and not hidden."""
    return _ending(name) in SUFFIXES


def is_other_picture(name: str) -> bool:
    """Whether a file is by its name a picture of a type that is not read; as `is_picture`."""
    return _ending(name) in OTHER_SUFFIXES


def _ending(name: str) -> str:
    """The ending of a file's name, in small letters; of one that is hidden, none."""
    # with blanks behind it, it is a picture all the same, whose name can't be used
    return "" if any(part[:1] == "." for part in name.split("/")) else posixpath.splitext(name)[1].lower().rstrip()


def key_of(place: PicturePlace, path: object) -> str:
    """The picture's key, from a path as a table gives it: relative to the folder, or absolute and below it.

    Raises RefusedError for one that can't be in the folder.
    """
    if not isinstance(path, str) or not path.strip():
        raise RefusedError("path missing", f"a path is expected, not {path!r}")
    text = path.strip()
    parts = text.replace("\\", "/").split("/")
    if ".." in parts:
        raise RefusedError("path leaves the folder", f"{text!r}: give paths without '..'")
    for start in _starts(place.images):
        if text.startswith(start):
            text = text[len(start) :].lstrip("/")
            break
    if text.startswith(("/", "\\")) or "://" in text or _DRIVE.match(text):
        where = f"of pictures, {place.images}" if place.images else "of pictures"
        raise RefusedError("path leaves the folder", f"{text!r}: give paths relative to the folder {where}")
    key = posixpath.normpath(text)
    if not key.isprintable():
        raise RefusedError("path not usable", f"{printable(key)}: rename the file, without signs that can't be shown")
    try:
        image_id(place.dataset, place.split, key)
    except DataError as error:
        raise RefusedError("path not usable", str(error)) from error
    return key


@lru_cache(maxsize=8)
def _starts(images: str) -> tuple[str, ...]:
    """What absolute paths begin with that lie in the folder."""
    if not images:
        return ()
    if "://" in images:
        return (f"{images.rstrip('/')}/",)
    places = (os.path.abspath(images), os.path.realpath(images))
    return tuple(f"{scheme}{place.rstrip('/')}/" for place in places for scheme in ("", "file://"))


def printable(text: str) -> str:
    """`text` with escapes for what can't be shown: control characters, bytes of a file name that are no UTF-8."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
