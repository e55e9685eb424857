"""What formats a path or URL could be in, told by its content. A look that never raises: what can't be read is said."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError, EngineError
from tasks.ingest.formats.format import Format
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

_Seen = TypeVar("_Seen")
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
        candidates = looker.at(url)
    return Recognition(tuple(candidates), tuple(dict.fromkeys(looker.notes)))


class _Looker:
    """Opens what lies at URLs, and gives it to the formats, the more particular first."""

    def __init__(self, images: str | None, work: Path, follow_links: str | None) -> None:
        self.images, self.work, self.follow_links = images, work, follow_links
        self.notes: list[str] = []
        self._opened: dict[str, Look] = {}

    def at(self, url: str) -> list[Candidate]:
        look = next(self._noting(url, partial(self._open, url)), None)
        if look is None:
            return []
        self._opened[url] = look
        for kind in FORMATS.values():
            self._ask(kind, look)
        if not look.settled:
            self.notes += look.doubts or _of_none(look)
        return _with_inner(look)

    def opened(self, url: str) -> Look | None:
        return self._opened.get(url)

    def apart(self, images: str) -> "_Looker":
        return _Looker(images, self.work, self.follow_links)

    def _ask(self, kind: Format, look: Look) -> None:
        for candidate in self._noting(look.url, partial(kind.recognise, look)):
            look.candidates.append(candidate)

    def _noting(self, url: str, seen: Callable[[], Iterable[_Seen]]) -> Iterator[_Seen]:
        """What is seen of a URL; what goes wrong meanwhile becomes a note."""
        try:
            yield from seen()
        except EngineError as error:
            self.notes.append(str(error))
        except Exception as error:
            # s3fs lets errors of botocore through, which is there only where s3fs is
            if not isinstance(error, OSError | ValueError) and not type(error).__module__.startswith("botocore."):
                raise
            self.notes.append(f"{url} can't be read: {error}")

    def _open(self, url: str) -> Iterator[Look]:
        """What lies there; nothing where that is said already."""
        fs, path = open_url(url)
        if fs.isdir(path):
            yield FolderLook(self, url, _ANNOTATIONS)
        elif fs.isfile(path):
            yield from self._file(url, fs, path)
        elif fs.exists(path):
            self.notes.append(f"{url} is neither a file nor a folder: nothing was read from it.")
        elif any(sign in url for sign in "*?[,"):
            yield PatternLook(self, url)
        else:
            self.notes.append(f"There is nothing at {url}.")

    def _file(self, url: str, fs: Any, path: str) -> Iterator[Look]:
        with open_file(fs, path) as file:
            head = file.read(_HEAD)
            other = stranger(head)
            archive = tar_in_words(file, url) if other is not None and other.is_tar else None
        if not head:
            self.notes.append(f"{url} is empty.")
        elif archive is not None:
            self.notes.append(archive)
        elif head.startswith(b"PK"):
            yield NpzLook(self, url, Npz(local_file(url, self.work, "file"), self.work / "npz", url))
        elif head.startswith(b"PAR1"):
            with open_file(fs, path) as file:
                yield TableLook(self, url, _parquet_columns(file, url), "a Parquet table")
        elif head.startswith(_PICTURES):
            folder = url.rpartition("/")[0] or "."
            self.notes.append(f"{url} is one picture: name the folder that it is in ({folder}).")
        elif head.startswith(b"\x80") and url.lower().endswith(_PICKLES):
            self.notes.append(f"{url} is a pickle, which no format here is; save what it holds as npz or json.")
        else:
            yield from self._text(url, fs, path, other)

    def _text(self, url: str, fs: Any, path: str, other: Stranger | None) -> Iterator[Look]:
        """JSON and CSV, whatever they are written in."""
        with open_file(fs, path) as file, as_utf8(file, url) as plain:
            try:
                text = plain.read(_HEAD).lstrip()
            except UnicodeDecodeError:
                text = b""
        if text[:1] in (b"[", b"{"):
            yield self._json(url)
        elif without_gz(url).lower().endswith(".csv"):
            yield TableLook(
                self, url, csv_columns(text.decode("utf-8", "replace").partition("\n")[0])[0], "a CSV table"
            )
        elif other is not None:
            self.notes.append(f"{url} is {other}.")
        else:
            yield FileLook(self, url)

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
    """What to say of something that no format knows."""
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


def _archive(url: str, names: Iterable[str]) -> str:
    members = list(names)
    name = printable(url.rpartition("/")[2])
    held = ", ".join(printable(member) for member in members[:12]) or "nothing"
    pictures = sum(map(is_picture, members))
    if any(member.endswith("data.pkl") for member in members):
        return f"{url} is a file of PyTorch's: `adhmr doctor --checkpoint` says what is in it."
    if pictures:
        return (
            f"{url} is a zip archive with {pictures} pictures ({held}), which is not read as it is: unpack it "
            f"(unzip {name} -d {name.removesuffix('.zip') or 'pictures'}), and ingest that folder."
        )
    return f"{url} is an npz of none of the formats here; it holds {held}."


def _parquet_columns(file: Any, url: str) -> list[str]:
    try:
        return [str(name) for name in pq.read_schema(file).names]
    except pa.ArrowException as error:
        raise DataError(f"{url} is no readable Parquet file: {error}") from error
