"""What is at a path or URL, opened once for all formats: each says of it whether it can read it.

Its content decides of what kind it is: a folder, an npz, json, a table, or a file of another kind. A look reads
beginnings, headers and a few rows; it may raise an EngineError, which becomes a note.
"""

import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError, EngineError
from tasks.ingest.formats.list_cache import ListCache
from tasks.ingest.people.box_tables import csv_columns
from tasks.ingest.people.boxes import REQUIRED
from tasks.ingest.source import json_lines
from tasks.ingest.source.files import local_file, open_file, open_url
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.npz_columns import Npz
from tasks.ingest.source.pickles import read_pickle
from tasks.ingest.source.signatures import Stranger, stranger, tar_in_words
from tasks.ingest.source.text_files import as_utf8, without_gz

ROWS: Final = 20
"""Rows of a file that a look reads."""
_FILES: Final = 12
_HEAD: Final = 4096
_PICTURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"II*\x00", b"MM\x00*")
_PICKLES: Final = (".pkl", ".pickle")
_OTHER_PICKLES: Final = (".pt", ".pth", ".npy")
_ANNOTATIONS: Final = (".npz", ".json", ".csv", ".parquet", ".json.gz", ".csv.gz", *json_lines.ENDINGS)
"""Endings of files in a folder that a look opens."""


@dataclass(frozen=True)
class Candidate:
    """A way to read a file or folder: a format, and what `adhmr ingest` takes with it."""

    format: str
    url: str
    why: str
    images: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    """The split that it is, where the content shows it."""


class Look:
    """What is at `url`: one of the kinds below, or nothing that can be read."""

    def __init__(self, looker: "Looker", url: str) -> None:
        self.looker, self.url = looker, url
        self.candidates: list[Candidate] = []
        """While formats are asked, those of the more particular ones, which come before."""
        self.doubts: list[str] = []
        self._notes_before = len(looker.notes)

    @property
    def name(self) -> str:
        return posixpath.basename(self.url)

    @property
    def folder(self) -> str:
        """The folder that it is in."""
        return posixpath.dirname(self.url) or "."

    @property
    def settled(self) -> bool:
        """Whether a format can read it, or has said what it is."""
        return bool(self.candidates) or len(self.looker.notes) > self._notes_before

    def candidate(self, name: str, why: str) -> Candidate:
        """It is of the format `name`."""
        return Candidate(name, self.url, why, self.looker.images)

    def say(self, text: str) -> None:
        """A sentence about what can't be read, or not by itself."""
        self.looker.notes.append(text)

    def doubt(self, text: str) -> None:
        """As `say`, unless a format can read it or says what it is."""
        self.doubts.append(text)


class PatternLook(Look):
    """Several files: a pattern, or names with commas between."""

    def as_first(self, url: str, name: str) -> Iterator[Candidate]:
        """They are of the format `name` if the first, which is at `url`, is."""
        for each in self.looker.at(url).candidates:
            if each.format == name:
                yield replace(each, url=self.url, why=f"its first file is {each.why}")


class NpzLook(Look):
    """An npz, or another zip archive."""

    def __init__(self, looker: "Looker", url: str, npz: Npz) -> None:
        super().__init__(looker, url)
        self.npz = npz

    @cached_property
    def cache(self) -> ListCache | None:
        """The list cache that it is; None for any other npz. DataError for one that is damaged."""
        numbered = any(name.isdigit() for name in self.npz.names)
        return ListCache(self.url, self.looker.work / "cache", "list cache") if numbered else None

    @cached_property
    def entry_keys(self) -> frozenset[Any]:
        """The keys of the cache's first entry that can be read; none where there is no such thing."""
        entries = islice(self.cache.entries(), ROWS) if self.cache else ()
        first = next((entry.value for entry in entries if entry.refusal is None), None)
        return frozenset(first) if isinstance(first, Mapping) else frozenset()


class JsonLook(Look):
    """Json: a list of rows, or a container, an object with the list annotations."""

    def __init__(self, looker: "Looker", url: str, container: bool, rows: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(looker, url)
        self.container, self.rows = container, rows
        self.keys = frozenset(key for row in rows for key in row)


class TableLook(Look):
    """A table: CSV, Parquet, or json that is a list of boxes. `what` calls it so."""

    def __init__(self, looker: "Looker", url: str, columns: Sequence[str], what: str) -> None:
        super().__init__(looker, url)
        self.columns, self.what = columns, what

    @property
    def meant(self) -> frozenset[str]:
        """Names of columns as tables of boxes take them."""
        return lowered(self.columns)


class PickleLook(Look):
    """A pickle, which is read as a whole, without trusting it."""

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys of its dictionary. DataError for one that can't be read."""
        with tempfile.TemporaryDirectory(dir=self.looker.work) as spool:
            return frozenset(read_pickle(self.url, Path(spool), "file"))


class TarLook(Look):
    """A tar archive, not compressed; `words` say what it holds, and what to do with it if no format reads it."""

    def __init__(self, looker: "Looker", url: str, words: str) -> None:
        super().__init__(looker, url)
        self.words = words


class LinesLook(Look):
    """Json lines: an object a line. `keys` are those of the first ones."""

    def __init__(self, looker: "Looker", url: str, keys: Sequence[str]) -> None:
        super().__init__(looker, url)
        self.keys = keys


class FileLook(Look):
    """A file of another kind."""


class FolderLook(Look):
    """A folder: its files, and what is in those that look like annotations."""

    def __init__(self, looker: "Looker", url: str) -> None:
        super().__init__(looker, url.rstrip("/"))
        self.fs, self.path = open_url(url)
        self.names, self.folders = _listed(self.fs, self.path)
        self.taken: set[str] = set()
        """Files that a format takes for its own as a set, so that they are not looked at one by one."""

    def named(self, suffix: str) -> list[str]:
        """The names of its files that end so, sorted."""
        return sorted(name for name in self.names if name.lower().endswith(suffix))

    @cached_property
    def inner(self) -> frozenset[str]:
        """Names of the files in its folder annotations."""
        below = posixpath.join(self.path, "annotations")
        return names_in(self.fs, below) if self.fs.isdir(below) else frozenset()

    @cached_property
    def files(self) -> list[Look]:
        """Looks at the first of its files that may be annotations, but for those that are `taken`."""
        names = [*sorted(self.names), *(f"annotations/{name}" for name in sorted(self.inner))]
        urls = [f"{self.url}/{name}" for name in names if name.lower().endswith(_ANNOTATIONS)]
        urls = [url for url in urls if url not in self.taken]
        looks = [self.looker.at(url) for url in urls[:_FILES]]
        if len(urls) > _FILES:
            self.say(f"{self.url} has {len(urls)} files of annotations; {_FILES} were looked at.")
        return looks

    @property
    def within(self) -> list[Candidate]:
        """The candidates in these files."""
        return [each for look in self.files for each in look.candidates]


def names_in(fs: Any, path: str) -> frozenset[str]:
    """The names of the files in a folder, without those in folders below."""
    return _listed(fs, path)[0]


def _listed(fs: Any, path: str) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the files in a folder, and those of the folders."""
    names: dict[str, list[str]] = {"file": [], "directory": []}
    for each in fs.ls(path, detail=True):
        names.get(each["type"], []).append(posixpath.basename(str(each["name"]).rstrip("/")))
    return frozenset(names["file"]), frozenset(names["directory"])


def lowered(names: Iterable[Any]) -> frozenset[str]:
    """Names as tables of boxes take them: without blanks around them, in small letters."""
    return frozenset(str(name).strip().lower() for name in names)


class Looker:
    """Opens what is at URLs; `ask` puts the candidates of all formats into a look.

    `images` is the folder of the pictures, if it is known, `work` a folder for what has to be copied or unpacked, and
    `follow_links` as `Folder` takes it. `notes` are sentences about what can't be read.
    """

    def __init__(self, ask: Callable[[Look], None], images: str | None, work: Path, follow_links: str | None) -> None:
        self.ask, self.images, self.work, self.follow_links = ask, images, work, follow_links
        self.notes: list[str] = []

    def at(self, url: str) -> Look:
        """What is there, with all candidates; what goes wrong becomes a note."""
        look = Look(self, url)
        with self.noting(url):
            look = self._open(url)
        self.ask(look)
        return look

    def apart(self, images: str) -> "Looker":
        """One with these pictures, whose notes are its own."""
        return Looker(self.ask, images, self.work, self.follow_links)

    @contextmanager
    def noting(self, url: str) -> Iterator[None]:
        """What goes wrong in looking at a URL becomes a note."""
        try:
            yield
        except EngineError as error:
            self.notes.append(str(error))
        except Exception as error:
            # s3fs lets errors of botocore through, which is there only where s3fs is
            if not isinstance(error, OSError | ValueError) and not type(error).__module__.startswith("botocore."):
                raise
            self.notes.append(f"{url} can't be read: {error}")

    def _open(self, url: str) -> Look:
        """What is there. Raises DataError, which says what it is, where no format could read it."""
        fs, path = open_url(url)
        if fs.isdir(path):
            return FolderLook(self, url)
        if fs.isfile(path):
            return self._file(url, fs, path)
        if fs.exists(path):
            raise DataError(f"{url} is neither a file nor a folder: nothing was read from it.")
        if any(sign in url for sign in "*?[,"):
            return PatternLook(self, url)
        raise DataError(f"There is nothing at {url}.")

    def _file(self, url: str, fs: Any, path: str) -> Look:
        with open_file(fs, path) as file:
            head = file.read(_HEAD)
            other = stranger(head)
            archive = tar_in_words(file, url) if other is not None and other.is_tar else None
        if not head:
            raise DataError(f"{url} is empty.")
        if archive is not None:
            return TarLook(self, url, archive)
        if head.startswith(b"PK"):
            return NpzLook(self, url, Npz(local_file(url, self.work, "file"), self.work / "npz", url))
        if head.startswith(b"PAR1"):
            try:
                with open_file(fs, path) as file:
                    return TableLook(self, url, list(map(str, pq.read_schema(file).names)), "a Parquet table")
            except pa.ArrowException as error:
                raise DataError(f"{url} is no readable Parquet file: {error}") from error
        if head.startswith(_PICTURES):
            folder = url.rpartition("/")[0] or "."
            raise DataError(f"{url} is one picture: name the folder that it is in ({folder}).")
        if other is None and url.lower().endswith(_PICKLES):
            return PickleLook(self, url)
        if head.startswith(b"\x80") and url.lower().endswith(_OTHER_PICKLES):
            raise DataError(f"{url} is a pickle, which no format here is; save what it holds as npz or json.")
        return self._text(url, fs, path, other)

    def _text(self, url: str, fs: Any, path: str, other: Stranger | None) -> Look:
        """JSON and CSV, whatever they are written in."""
        with open_file(fs, path) as file, as_utf8(file, url) as plain:
            try:
                text = plain.read(_HEAD).lstrip()
            except UnicodeDecodeError:
                text = b""
        if without_gz(url).lower().endswith(json_lines.ENDINGS):
            return LinesLook(self, url, json_lines.first_keys(local_file(url, self.work, "file"), url))
        if text[:1] in (b"[", b"{"):
            return self._json(url)
        if without_gz(url).lower().endswith(".csv"):
            names, _ = csv_columns(text.decode("utf-8", "replace").partition("\n")[0])
            return TableLook(self, url, names, "a CSV table")
        if other is not None:
            raise DataError(f"{url} is {other}.")
        return FileLook(self, url)

    def _json(self, url: str) -> Look:
        file = local_file(url, self.work, "file")
        container = begins_with(file) == "{"
        first = islice(items(file, "annotations.item" if container else "item"), ROWS)
        rows: list[Mapping[str, Any]] = [row for row in first if isinstance(row, dict)]
        look = JsonLook(self, url, container, rows)
        names = lowered(look.keys)
        if not container and {*REQUIRED[1:]} <= names and names & {"path", "frame"}:
            return TableLook(self, url, sorted(look.keys), "a list of boxes")
        return look
