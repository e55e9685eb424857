"""What is at a path or URL, opened once for all formats: each says of it whether it can read it.

Its content decides of what kind it is: a folder, an npz, json, a table, or a file of another kind. A look reads
beginnings, headers and a few rows; it may raise an EngineError, which becomes a note.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from tasks.ingest.formats.list_cache import ListCache
from tasks.ingest.source.files import open_url
from tasks.ingest.source.npz_columns import Npz

ROWS: Final = 20
"""Rows of a file that a look reads."""
_FILES: Final = 12


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


class Looker(Protocol):
    """What opens looks: its settings, and how it looks at something else."""

    images: str | None
    """The folder of the pictures, if it is known."""
    follow_links: str | None
    """As `Folder` takes it."""
    work: Path
    """A folder for what has to be copied or unpacked."""
    notes: list[str]

    def at(self, url: str) -> "Look":
        """What is there, with all candidates; what goes wrong becomes a note."""
        ...

    def apart(self, images: str) -> "Looker":
        """One with these pictures, whose notes are its own."""
        ...


class Look:
    """What is at `url`: one of the kinds below, or nothing that can be read."""

    def __init__(self, looker: Looker, url: str) -> None:
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


class NpzLook(Look):
    """An npz, or another zip archive."""

    def __init__(self, looker: Looker, url: str, npz: Npz) -> None:
        super().__init__(looker, url)
        self.npz = npz

    @cached_property
    def entries(self) -> "Entries | None":
        """Of a list cache; None for any other npz. DataError for one that is damaged."""
        if not any(name.isdigit() for name in self.npz.names):
            return None
        cache = ListCache(self.url, self.looker.work / "cache", "list cache")
        first = next((entry.value for entry in islice(cache.entries(), ROWS) if entry.refusal is None), None)
        return Entries(len(cache), frozenset(first) if isinstance(first, Mapping) else frozenset())


@dataclass(frozen=True)
class Entries:
    """The count of a list cache's entries, and the keys of its first one."""

    count: int
    keys: frozenset[Any]


class JsonLook(Look):
    """Json: a list of rows, or a container, an object with the list annotations."""

    def __init__(self, looker: Looker, url: str, container: bool, rows: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(looker, url)
        self.container, self.rows = container, rows
        self.keys = frozenset(key for row in rows for key in row)


class TableLook(Look):
    """A table: CSV, Parquet, or json that is a list of boxes. `what` calls it so."""

    def __init__(self, looker: Looker, url: str, columns: Sequence[str], what: str) -> None:
        super().__init__(looker, url)
        self.columns, self.what = columns, what

    @property
    def meant(self) -> frozenset[str]:
        """Names of columns as tables of boxes take them."""
        return lowered(self.columns)


class FileLook(Look):
    """A file of another kind."""


class FolderLook(Look):
    """A folder: its files, and what is in those that look like annotations."""

    def __init__(self, looker: Looker, url: str, annotations: Sequence[str]) -> None:
        """`annotations` are the endings of files to look at."""
        super().__init__(looker, url.rstrip("/"))
        self.fs, self.path = open_url(url)
        self.names = names_in(self.fs, self.path)
        self.taken: set[str] = set()
        """Files that a format takes for its own as a set, so that they are not looked at one by one."""
        self._endings = tuple(annotations)

    @cached_property
    def inner(self) -> frozenset[str]:
        """Names of the files in its folder annotations."""
        below = posixpath.join(self.path, "annotations")
        return names_in(self.fs, below) if self.fs.isdir(below) else frozenset()

    @cached_property
    def files(self) -> list[Look]:
        """Looks at the first of its files that may be annotations, but for those that are `taken`."""
        names = [*sorted(self.names), *(f"annotations/{name}" for name in sorted(self.inner))]
        urls = [f"{self.url}/{name}" for name in names if name.lower().endswith(self._endings)]
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
    listed = fs.ls(path, detail=True)
    return frozenset(posixpath.basename(str(each["name"]).rstrip("/")) for each in listed if each["type"] == "file")


def lowered(names: Sequence[Any] | frozenset[Any]) -> frozenset[str]:
    """Names as tables of boxes take them: without blanks around them, in small letters."""
    return frozenset(str(name).strip().lower() for name in names)
