"""What formats a path or URL could be in, by its content. This never raises: what can't be read becomes a note."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError, EngineError
from tasks.ingest.formats.look import (
    ROWS,
    Candidate,
    FileLook,
    FolderLook,
    JsonLook,
    Look,
    NpzLook,
    PatternLook,
    TableLook,
    lowered,
)
from tasks.ingest.formats.registry import FORMATS
from tasks.ingest.people.box_tables import csv_columns
from tasks.ingest.people.boxes import REQUIRED
from tasks.ingest.source.files import local_file, open_file, open_url
from tasks.ingest.source.folder import is_picture, printable
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.npz_columns import Npz
from tasks.ingest.source.signatures import Stranger, stranger, tar_in_words
from tasks.ingest.source.text_files import as_utf8, without_gz

_HEAD: Final = 4096
_PICTURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"II*\x00", b"MM\x00*")
_PICKLES: Final = (".pkl", ".pickle", ".pt", ".pth", ".npy")
_ANNOTATIONS: Final = (".npz", ".json", ".csv", ".parquet", ".json.gz", ".csv.gz")


@dataclass(frozen=True)
class Recognition:
    """The ways to read a URL, the likeliest first, and what could not be read or recognised, a sentence each."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


def recognise(url: str, images: str | None = None, follow_links: str | None = None) -> Recognition:
    """What formats the file or folder at `url` could be in; `images` is the folder of its pictures, if it is known.
    `follow_links` as `Folder` takes it.

    Reads beginnings, headers and a few rows; remote files are copied to a temporary folder for that.
    """
    with tempfile.TemporaryDirectory(prefix="adhmr-look-") as work:
        looker = _Looker(images, Path(work), follow_links)
        candidates = looker.at(url).candidates
    return Recognition(tuple(candidates), tuple(dict.fromkeys(looker.notes)))


class _Looker:
    """Opens what is at URLs, and hands it to the formats, the more particular first."""

    def __init__(self, images: str | None, work: Path, follow_links: str | None) -> None:
        self.images, self.work, self.follow_links = images, work, follow_links
        self.notes: list[str] = []

    def at(self, url: str) -> Look:
        look = Look(self, url)
        with self._noting(url):
            look = self._open(url)
        for kind in FORMATS.values():
            with self._noting(look.url):
                for candidate in kind.recognise(look):
                    look.candidates.append(candidate)
        if not look.settled:
            self.notes += look.doubts or _of_none(look)
        look.candidates = _with_inner(look)
        return look

    def apart(self, images: str) -> "_Looker":
        return _Looker(images, self.work, self.follow_links)

    @contextmanager
    def _noting(self, url: str) -> Iterator[None]:
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
            return FolderLook(self, url, _ANNOTATIONS)
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
            raise DataError(archive)
        if head.startswith(b"PK"):
            return NpzLook(self, url, Npz(local_file(url, self.work, "file"), self.work / "npz", url))
        if head.startswith(b"PAR1"):
            with open_file(fs, path) as file:
                return TableLook(self, url, _parquet_columns(file, url), "a Parquet table")
        if head.startswith(_PICTURES):
            folder = url.rpartition("/")[0] or "."
            raise DataError(f"{url} is one picture: name the folder that it is in ({folder}).")
        if head.startswith(b"\x80") and url.lower().endswith(_PICKLES):
            raise DataError(f"{url} is a pickle, which no format here is; save what it holds as npz or json.")
        return self._text(url, fs, path, other)

    def _text(self, url: str, fs: Any, path: str, other: Stranger | None) -> Look:
        """JSON and CSV, whatever they are written in."""
        with open_file(fs, path) as file, as_utf8(file, url) as plain:
            try:
                text = plain.read(_HEAD).lstrip()
            except UnicodeDecodeError:
                text = b""
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


def _with_inner(look: Look) -> list[Candidate]:
    """The candidates of a look; of a folder the particular ones, those in its files, and those of its pictures."""
    if not isinstance(look, FolderLook):
        return look.candidates
    own = {each.format for each in look.candidates}
    first = [each for each in look.candidates if FORMATS[each.format].brings != "pictures"]
    last = [each for each in look.candidates if each not in first]
    return [*first, *(each for each in look.within if each.format not in own), *last]


def _of_none(look: Look) -> list[str]:
    """What to say of something that no format reads."""
    url = look.url
    match look:
        case NpzLook():
            return [_archive(url, look.npz.names)]
        case JsonLook():
            what = "an object without a list annotations" if look.container else "a list without objects"
            return [f"{url} is {what}: none of the formats here."]
        case TableLook():
            shown = printable(", ".join(look.columns[:20])) or "none"
            return [f"{url} is {look.what} with the columns {shown}; one of boxes has {', '.join(REQUIRED)}."]
        case FileLook():
            return [f"{url} is no npz, json, table, picture or video."]
    return []


def _archive(url: str, members: tuple[str, ...]) -> str:
    name = printable(url.rpartition("/")[2])
    first = ", ".join(printable(member) for member in members[:12]) or "nothing"
    pictures = sum(map(is_picture, members))
    if any(member.endswith("data.pkl") for member in members):
        return f"{url} is a file of PyTorch's: `adhmr doctor --checkpoint` says what is in it."
    if pictures:
        return (
            f"{url} is a zip archive with {pictures} pictures ({first}), which is not read as it is: unpack it "
            f"(unzip {name} -d {name.removesuffix('.zip') or 'pictures'}), and ingest that folder."
        )
    return f"{url} is an npz of none of the formats here; it holds {first}."


def _parquet_columns(file: Any, url: str) -> list[str]:
    try:
        return [str(name) for name in pq.read_schema(file).names]
    except pa.ArrowException as error:
        raise DataError(f"{url} is no readable Parquet file: {error}") from error
