"""Readers of data sets that are a pickle for each sequence: which files are read, and what is said of them.

The source is one file, or the folder of a split's files. A file that can't be read is one failure; the others go on.
"""

import posixpath
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from schemas.errors import DataError
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.sequence_rows import CROP_SCALE, Recording, Track, refused_sequence
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.source.files import is_local, open_url
from tasks.ingest.source.folder import RefusedError, printable
from tasks.ingest.source.pickles import read_pickle


class SequenceReader(ABC):
    """The people of some sequences, file after file in the order of their names."""

    name: ClassVar[str]
    of: ClassVar[str]
    """The data set, for messages."""
    suffix: ClassVar[str]
    """What the names of its files end with."""
    depth: ClassVar[int]
    """Folders from the source down to its files, at most."""

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        work.mkdir(parents=True, exist_ok=True)
        self.urls = sequence_files(source.url, self.suffix, self.depth)
        if not self.urls:
            raise DataError(f"{source.url} has no file *{self.suffix}: name the folder of one split of {self.of}.")
        self.images = source.images or self.usual_images()

    @abstractmethod
    def usual_images(self) -> str:
        """The folder of pictures as the data set is published."""

    @abstractmethod
    def recording(self, content: Mapping[str, Any], name: str, work: Path) -> Recording | None:
        """What a file's dictionary means; None: the options leave it out. DataError for one that can't be used."""

    def survey(self) -> Survey:
        """Reads all files, which hold no pictures."""
        people, frames, sequences, shapes = 0, 0, 0, []
        remarks = []
        for name, recording in self._recordings():
            if isinstance(recording, DataError):
                remarks.append(f"{recording} All people of {name} are one failure.")
                continue
            sequences += 1
            tracks = [track for track in recording.tracks if isinstance(track, Track)]
            people += len(tracks)
            frames += recording.frames * len(tracks)
            shapes += [track.betas.beyond[0] for track in tracks if track.betas.beyond.size]
        facts = {
            "sequences": f"{sequences} with {people} people",
            "labels": "gt",
            "body model": "smpl, of the person's gender; placed in the world frame",
            "camera": "given for each frame; x_cam = R x + t",
            "pictures": self.images,
            "every N": "counts frames",
            "crop": f"joints x {CROP_SCALE:g}",
        }
        cut = json_rows.cut_words("shapes", [np.asarray(shape) for shape in shapes])
        return Survey(self.name, self.urls, frames, self.images, facts, [*remarks, *filter(None, [cut])], ["smpl"])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All people in the order of the files. DataError where no file can be read."""
        return json_rows.in_batches(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        numbers, read, first = count(), 0, None
        refused: list[dict[str, Any]] = []
        for name, recording in self._recordings():
            if isinstance(recording, DataError):
                first = first or recording
                refused.append(refused_sequence(next(numbers), name, recording))
                continue
            read += 1
            yield from refused
            refused = []
            yield from recording.rows(name, numbers)
        if not read:
            raise first or DataError(f"None of the {len(self.urls)} sequences of {self.source.url} is asked for.")
        yield from refused

    def _recordings(self) -> Iterator[tuple[str, Recording | DataError]]:
        """The files' names with what they hold, one at a time, or with why they can't be used."""
        for url in self.urls:
            name = printable(posixpath.basename(url))
            with tempfile.TemporaryDirectory(dir=self.work) as folder:
                try:
                    recording = self.recording(read_pickle(url, Path(folder), "sequence"), name, Path(folder))
                except DataError as error:
                    yield name, error
                else:
                    if recording is not None:
                        yield name, recording


def sequence_files(url: str, suffix: str, depth: int) -> list[str]:
    """The file at a URL, or those of a folder whose names end with `suffix`, up to `depth` folders down; sorted.

    Raises DataError where nothing is there, or it can't be listed.
    """
    fs, path = open_url(url)
    try:
        if fs.isfile(path):
            return [url]
        if not fs.exists(path):
            raise DataError(f"There is nothing at {url}.")
        if not fs.isdir(path):
            raise DataError(f"{url} is neither a file nor a folder.")
        found = sorted(str(name) for name in fs.find(path, maxdepth=depth) if str(name).endswith(suffix))
    except OSError as error:
        raise DataError(f"{url} can't be listed: {error}") from error
    return found if is_local(fs) else [str(fs.unstrip_protocol(name)) for name in found]


def track_or_error(make: Callable[[], Track]) -> Track | DataError:
    """The person that `make` gives, or why it can't."""
    try:
        return make()
    except DataError as error:
        return error


def needed(content: Mapping[str, Any], key: str, name: str) -> Any:
    """The value of a key. DataError where a file lacks it."""
    value = content.get(key)
    if value is None:
        raise DataError(f"{name} has no {key}.")
    return value


def text_in(content: Mapping[str, Any], key: str, name: str) -> str:
    """The text of a key. DataError where a file lacks it."""
    value = json_rows.or_refusal(json_rows.text, needed(content, key, name), key)
    if isinstance(value, RefusedError):
        raise DataError(f"{name}: {value.detail}.")
    return value


def table_in(content: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    """The dictionary of a key. DataError where a file lacks it."""
    value = needed(content, key, name)
    if not isinstance(value, dict):
        raise DataError(f"{name}, {key}: a dictionary is expected, not a {type(value).__name__}.")
    return value


def ancestor(url: str, levels: int) -> str:
    """The folder so many levels above a file."""
    for _ in range(levels):
        url = posixpath.dirname(url) or "."
    return url
