"""Reads files of `flat_npz`, one or several as if they were one; a format says what their rows are."""

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tasks.ingest.formats.flat_npz import FlatNpz
from tasks.ingest.formats.humandata.block import Block
from tasks.ingest.formats.humandata.reader import files_of
from tasks.ingest.formats.json_rows import as_batch
from tasks.ingest.formats.option_values import KINDS, choice
from tasks.ingest.people.annotations import ROWS_AT_ONCE, AnnotationSource, Survey
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import printable
from tasks.ingest.source.npz_columns import Npz


class FlatRows(ABC):
    """The rows of one file."""

    file: FlatNpz
    model: str | None
    """smpl or smplx; None where it has no bodies."""
    facts: Mapping[str, str]
    """What the file has, the same names in all files."""

    @abstractmethod
    def put(self, block: Block, first: int) -> None:
        """Give a block's rows what the file has. `first` is the number of the file's first row in the source."""


class FlatReader(ABC):
    """A `tasks.ingest.people.annotations.Reader`. The option label_kind says whether labels are known or guessed."""

    name: ClassVar[str]
    needed: ClassVar[Sequence[str]]
    """Members that a file must have."""
    used: ClassVar[Sequence[str]]
    """Members that are used, or left out without a word."""

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        self.label_kind = choice(source.options, "label_kind", KINDS, self.name) or "gt"

    @abstractmethod
    def part(self, url: str, file: FlatNpz) -> FlatRows:
        """The rows of one file. DataError for one that can't be used as a whole."""

    def remarks(self) -> Iterator[str]:
        """What a user should know of all files together."""
        yield from ()

    def survey(self) -> Survey:
        """What the files hold. Reads headers and some rows."""
        parts = self.parts
        facts = {name: "; ".join(dict.fromkeys(part.facts[name] for part in parts)) for name in parts[0].facts}
        remarks = [remark for part in parts for remark in (*part.file.remarks, *part.file.npz.unused(self.used))]
        bodies = list(dict.fromkeys(part.model for part in parts if part.model))
        rows = sum(part.file.count for part in parts)
        return Survey(self.name, self.urls, rows, self.images, facts, [*remarks, *self.remarks()], bodies)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, file after file."""
        first = 0
        for part in self.parts:
            for start in range(0, part.file.count, ROWS_AT_ONCE):
                yield as_batch(self._rows(part, start, first))
            first += part.file.count

    @property
    def images(self) -> str:
        """The folder of pictures: by default that of the first file."""
        return self.source.images or posixpath.dirname(self.urls[0]) or "."

    @cached_property
    def urls(self) -> list[str]:
        """Of the files."""
        return files_of(self.source.url)

    @cached_property
    def parts(self) -> list[Any]:
        """The rows of each file."""
        parts = []
        for number, url in enumerate(self.urls):
            work = self.work / f"part-{number}"
            npz = Npz(local_file(url, work, "file of annotations"), work, printable(url.rsplit("/", 1)[-1]))
            parts.append(self.part(url, FlatNpz(npz, self.needed, self.name)))
        return parts

    def _rows(self, part: FlatRows, start: int, first: int) -> list[dict[str, Any]]:
        block = Block(start, min(start + ROWS_AT_ONCE, part.file.count))
        part.put(block, first)
        return block.finished()
