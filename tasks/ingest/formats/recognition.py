"""What format a path or URL is in, told by its content. A look that never raises: what can't be read is said so."""

import posixpath
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError, EngineError
from tasks.ingest.formats.humandata.reader import files_of
from tasks.ingest.formats.list_cache import ListCache
from tasks.ingest.formats.osx_h36m.reader import SUFFIXES
from tasks.ingest.formats.scorehypo.sets import recognise as set_of
from tasks.ingest.formats.scorer_eval.reader import ScorerCacheReader
from tasks.ingest.formats.video.frames import VideoFile
from tasks.ingest.formats.video.reader import COLUMNS, MAX_PIXELS
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.box_tables import csv_columns
from tasks.ingest.people.boxes import REQUIRED, read_boxes
from tasks.ingest.source.contents import contents_of, table_within
from tasks.ingest.source.files import is_local, local_file, open_file, open_url
from tasks.ingest.source.folder import Folder, PicturePlace, is_picture, printable
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.npz_columns import Npz
from tasks.ingest.source.signatures import Stranger, stranger, tar_in_words
from tasks.ingest.source.spellings import keys_in
from tasks.ingest.source.text_files import as_utf8, without_gz

VIDEOS: Final = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".flv"})
_HEAD = 4096
_ROWS_LOOKED_AT = 20
_FILES_LOOKED_AT = 12
_PICTURES_LOOKED_AT = 2000
_PICTURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"II*\x00", b"MM\x00*")
_ANNOTATIONS: Final = (".npz", ".json", ".csv", ".parquet", ".json.gz", ".csv.gz")
_SUBJECT = re.compile(r"Human36M_subject(\d{1,4})_data\.json")
_LABELS: Final = ("path", "person", "global_orient", "body_pose")


@dataclass(frozen=True)
class Candidate:
    """A way to read what was looked at: a format, and what `adhmr ingest` takes with it."""

    format: str
    url: str
    why: str
    images: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


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
        look = _Look(images, Path(work), follow_links)
        candidates = look.at(url)
    return Recognition(tuple(candidates), tuple(dict.fromkeys(look.notes)))


class _Look:
    def __init__(self, images: str | None, work: Path, follow_links: str | None) -> None:
        self.images, self.work, self.follow_links = images, work, follow_links
        self.notes: list[str] = []
        self.tables_of_labels: list[str] = []

    def at(self, url: str) -> list[Candidate]:
        """The candidates at `url`; what goes wrong becomes a note."""
        found: list[Candidate] = []
        try:
            found.extend(self._at(url))
        except EngineError as error:
            self.notes.append(str(error))
        except Exception as error:
            # s3fs lets errors of botocore through, which is there only where s3fs is
            if not isinstance(error, OSError | ValueError) and not type(error).__module__.startswith("botocore."):
                raise
            self.notes.append(f"{url} can't be read: {error}")
        return found

    def _at(self, url: str) -> Iterator[Candidate]:
        fs, path = open_url(url)
        if fs.isdir(path):
            yield from self._folder(url, fs, path)
        elif fs.isfile(path):
            yield from self._file(url, fs, path)
        elif fs.exists(path):
            self.notes.append(f"{url} is neither a file nor a folder: nothing was read from it.")
        elif any(sign in url for sign in "*?[,"):
            first = files_of(url)[0]
            yield from (
                Candidate(each.format, url, f"its first file is {each.why}", each.images)
                for each in self.at(first)
                if each.format == "humandata"
            )
        else:
            self.notes.append(f"There is nothing at {url}.")

    def _file(self, url: str, fs: Any, path: str) -> Iterator[Candidate]:
        with open_file(fs, path) as file:
            head = file.read(_HEAD)
            known = stranger(head)
            archive = tar_in_words(file, url) if known is not None and known.is_tar else None
        if not head:
            self.notes.append(f"{url} is empty.")
        elif archive is not None:
            self.notes.append(archive)
        elif head.startswith(b"PK"):
            yield from self._npz(url)
        elif head.startswith(b"PAR1"):
            with open_file(fs, path) as file:
                yield from self._table(url, _parquet_columns(file, url), "a Parquet table")
        elif head.startswith(_PICTURES):
            folder = posixpath.dirname(url) or "."
            self.notes.append(f"{url} is one picture: name the folder that it is in ({folder}).")
        elif head.startswith(b"\x80") and url.lower().endswith((".pkl", ".pickle", ".pt", ".pth", ".npy")):
            self.notes.append(f"{url} is a pickle, which no format here is; save what it holds as npz or json.")
        else:
            yield from self._text(url, fs, path, known)

    def _text(self, url: str, fs: Any, path: str, known: Stranger | None) -> Iterator[Candidate]:
        """JSON and CSV, whatever they are written in; what is none may be a video."""
        with open_file(fs, path) as file, as_utf8(file, url) as plain:
            try:
                text = plain.read(_HEAD).lstrip()
            except UnicodeDecodeError:
                text = b""
        if text[:1] in (b"[", b"{"):
            yield from self._json(url)
        elif without_gz(url).lower().endswith(".csv"):
            yield from self._table(url, _csv_columns(text), "a CSV table")
        elif known is not None:
            self.notes.append(f"{url} is {known}.")
        else:
            yield from self._video(url)

    def _video(self, url: str) -> Iterator[Candidate]:
        try:
            video = VideoFile(local_file(url, self.work, "file"), url, MAX_PIXELS)
        except DataError:
            if posixpath.splitext(url)[1].lower() in VIDEOS:
                raise
            self.notes.append(f"{url} is no npz, json, table, picture or video.")
        else:
            shown = f"a video ({video.codec}, {video.width} x {video.height} px)"
            yield Candidate("video", url, shown, self.images)

    def _npz(self, url: str) -> Iterator[Candidate]:
        npz = Npz(local_file(url, self.work, "file"), self.work / "npz", url)
        if {"image_path", "bbox_xywh"} <= set(npz.names):
            yield Candidate("humandata", url, "an npz with image_path and bbox_xywh", self.images)
            return
        if any(name.isdigit() for name in npz.names):
            yield from self._list_cache(url)
            return
        held = ", ".join(printable(name) for name in npz.names[:12]) or "nothing"
        pictures = sum(map(is_picture, npz.names))
        if any(name.endswith("data.pkl") for name in npz.names):
            self.notes.append(f"{url} is a file of PyTorch's: `adhmr doctor --checkpoint` says what is in it.")
        elif pictures:
            folder = printable(posixpath.basename(url)).removesuffix(".zip") or "pictures"
            self.notes.append(
                f"{url} is a zip archive with {pictures} pictures ({held}), which is not read as it is: unpack it "
                f"(unzip {printable(posixpath.basename(url))} -d {folder}), and ingest that folder."
            )
        else:
            self.notes.append(f"{url} is an npz of none of the formats here; it holds {held}.")

    def _list_cache(self, url: str) -> Iterator[Candidate]:
        cache = ListCache(url, self.work / "cache", "list cache")
        first = next((entry.value for entry in islice(cache.entries(), _ROWS_LOOKED_AT) if entry.refusal is None), None)
        keys = set(first) if isinstance(first, Mapping) else set()
        if {"output_joints", "output_twists"} <= keys:
            why = f"a list cache of {len(cache)} entries with output_joints and output_twists"
            yield Candidate("multihypo-npz", url, why, self.images)
        elif url.endswith("_id.npz") and keys <= {"img_idx"}:
            whole = f"{url.removesuffix('_id.npz')}.npz"
            self.notes.append(f"{url} holds numbers of pictures; the hypotheses are in {whole}.")
        else:
            # the reader tells hypotheses by shapes, and raises DataError where it finds none
            ScorerCacheReader(AnnotationSource("scorer-eval", url, "any", "any"), self.work / "scorer")
            yield Candidate("scorer-eval", url, f"a list cache of {len(cache)} entries with hypotheses", self.images)

    def _json(self, url: str) -> Iterator[Candidate]:
        file, name = local_file(url, self.work, "file"), without_gz(posixpath.basename(url))
        container = begins_with(file) == "{"
        first = islice(items(file, "annotations.item" if container else "item"), _ROWS_LOOKED_AT)
        rows: list[Mapping[str, Any]] = [row for row in first if isinstance(row, dict)]
        keys = {key for row in rows for key in row}
        subject = _SUBJECT.fullmatch(posixpath.basename(url))
        if subject:
            yield from self._human36m(posixpath.dirname(url) or ".", {name}, url)
        if not rows:
            what = "an object without a list annotations" if container else "a list without objects"
            self.notes.append(f"{url} is {what}: none of the formats here.")
        elif {"l_joints", "w_joints"} <= keys:
            yield Candidate("dpo-json", url, "a list of pairs with l_joints and w_joints", self.images)
        elif not container and {*REQUIRED[1:]} <= _lowered(keys) and _lowered(keys) & {"path", "frame"}:
            yield from self._table(url, sorted(keys), "a list of boxes")
        else:
            yield from self._people(url, container, rows, name, has_boxes="bbox" in keys and "image_id" in keys)

    def _people(
        self, url: str, container: bool, rows: Sequence[Mapping[str, Any]], name: str, has_boxes: bool
    ) -> Iterator[Candidate]:
        try:
            made = set_of(container, rows, name, url)
        except DataError as error:
            if container and has_boxes:
                points = " and keypoints" if any("keypoints" in row for row in rows) else ""
                yield Candidate("coco", url, f"images, and annotations with bbox{points}", self.images)
            else:
                self.notes.append(str(error))
        else:
            what = "images, and annotations" if made.container else "a list of people"
            yield Candidate("scorehypo", url, f"{what} as {made.title} has them", self.images)

    def _table(self, url: str, columns: Sequence[str], what: str) -> Iterator[Candidate]:
        """A table of boxes is no source by itself: it goes with its pictures, or with its video."""
        folder = posixpath.dirname(url) or "."
        names = _lowered(columns)
        if names >= {*REQUIRED}:
            pictures = self.images or self._with_pictures(folder, url)
            if pictures:
                yield Candidate("folder", pictures, f"{what} of boxes by path: {url}", options={"boxes": url})
            else:
                self.notes.append(f"{url} is {what} of boxes by path: say with --images where the pictures are.")
        elif names >= {*COLUMNS}:
            self.notes.append(f"{url} is {what} of boxes by frame: name its video, and this with --boxes.")
        elif {*_LABELS} <= set(columns):
            self.tables_of_labels.append(url)
            self.notes.append(f"{url} is {what} of labels: name the folder of pictures, and this with --labels.")
        else:
            shown = printable(", ".join(columns[:20])) or "none"
            self.notes.append(f"{url} is {what} with the columns {shown}; one of boxes has {', '.join(REQUIRED)}.")

    def _with_pictures(self, folder: str, table: str) -> str | None:
        """The folder that the paths of a table of boxes start from, as far as that is told by its place."""
        places = [place for place in (posixpath.join(folder, "images"), folder) if self._count_pictures(place)[0]]
        if len(places) > 1:
            paths = (row.get("path") for row in islice(read_boxes(table).rows, _ROWS_LOOKED_AT))
            named = [path for path in paths if isinstance(path, str)]
            for place in places:
                opened, source = Folder(place, self.follow_links), PicturePlace(place, "any", "any")
                keys = [key for key in keys_in(opened, source, named).values() if isinstance(key, str)]
                if any(opened.fs.exists(opened.path(key)) for key in keys):
                    return place
        return places[0] if places else None

    def _count_pictures(self, url: str) -> tuple[int, bool]:
        """How many pictures there are below a folder, and whether there are more than were counted."""
        fs, path = open_url(url)
        if not fs.isdir(path):
            return 0, False
        # behind a URL, a folder is listed bit by bit, because it may be large
        names = (
            (name for name, _ in Folder(url, self.follow_links).files())
            if is_local(fs)
            else (str(name) for _, _, files in fs.walk(path) for name in files)
        )
        count = sum(1 for _ in islice(filter(is_picture, names), _PICTURES_LOOKED_AT))
        return count, count == _PICTURES_LOOKED_AT

    def _folder(self, url: str, fs: Any, path: str) -> Iterator[Candidate]:
        names = _names(fs, path)
        base, inner = url.rstrip("/"), set[str]()
        found = list(self._human36m(base, names))
        if fs.isdir(posixpath.join(path, "annotations")):
            inner = _names(fs, posixpath.join(path, "annotations"))
            found += self._human36m(f"{base}/annotations", inner)
        files = [f"{base}/{name}" for name in sorted(names)] + [f"{base}/annotations/{name}" for name in sorted(inner)]
        readable = [name for name in files if name.lower().endswith(_ANNOTATIONS) and "Human36M_subject" not in name]
        found += [each for name in readable[:_FILES_LOOKED_AT] for each in self.at(name)]
        if not found and fs.isdir(posixpath.join(path, "images")):
            within = table_within(Folder(f"{base}/images"))
            found += self.at(within) if within is not None else []
        if len(readable) > _FILES_LOOKED_AT:
            self.notes.append(f"{url} has {len(readable)} files of annotations; {_FILES_LOOKED_AT} were looked at.")
        yield from map(self._with_labels, found)
        videos = [name for name in sorted(names) if posixpath.splitext(name)[1].lower() in VIDEOS]
        if videos:
            self.notes.append(
                f"{url} has {len(videos)} videos ({printable(videos[0])}): name one of them to ingest it."
            )
        count, more = self._count_pictures(base)
        if count and not any(each.format == "folder" for each in found):
            counted = f"{'at least ' if more else ''}{count} pictures"
            made = Candidate("folder", base, f"a folder with {counted}", options=self._beside(base, fs, path))
            yield self._with_labels(made)
        elif not count and not found and not readable and not videos:
            told = contents_of(Folder(base, self.follow_links)).in_words()
            self.notes.append(" ".join([f"{url} is a folder without pictures, videos and annotations.", *told]))

    def _beside(self, url: str, fs: Any, path: str) -> dict[str, str]:
        """A table of boxes that stands beside a folder of pictures."""
        parent = path.rstrip("/").rpartition("/")[0]
        for name in sorted(_names(fs, parent)) if parent else ():
            if "box" in name.lower() and name.lower().endswith((".csv", ".parquet", ".json", ".csv.gz", ".json.gz")):
                table = posixpath.join(posixpath.dirname(url), name)
                looked = _Look(url, self.work, self.follow_links).at(table)
                if any(each.options.get("boxes") == table for each in looked):
                    return {"boxes": table}
        return {}

    def _with_labels(self, found: Candidate) -> Candidate:
        """A folder with the one table of labels that was met."""
        if found.format != "folder" or len(self.tables_of_labels) != 1:
            return found
        return replace(found, options={**found.options, "labels": self.tables_of_labels[0]})

    def _human36m(self, folder: str, names: set[str], single: str | None = None) -> Iterator[Candidate]:
        """The candidate for the subjects in a folder that have all four files."""
        subjects = sorted({int(match[1]) for name in names if (match := _SUBJECT.fullmatch(name))})
        whole = []
        for subject in subjects:
            wanted = [f"Human36M_subject{subject}_{ending}.json" for ending in SUFFIXES.values()]
            fs, path = open_url(folder)
            missing = [name for name in wanted if not fs.exists(posixpath.join(path, name))]
            if missing:
                self.notes.append(f"Subject {subject} of Human3.6M lacks {', '.join(missing)} in {folder}.")
            else:
                whole.append(subject)
        if whole:
            told = ",".join(map(str, whole))
            why = f"the four json files of Human3.6M's subjects {told}"
            options = {} if single else {"subjects": told}
            yield Candidate("osx-h36m", single or folder, why, self.images, options)


def _names(fs: Any, path: str) -> set[str]:
    """The names of the files in a folder, without those in folders below."""
    return {
        posixpath.basename(str(each["name"]).rstrip("/")) for each in fs.ls(path, detail=True) if each["type"] == "file"
    }


def _parquet_columns(file: Any, url: str) -> list[str]:
    try:
        return [str(name) for name in pq.read_schema(file).names]
    except pa.ArrowException as error:
        raise DataError(f"{url} is no readable Parquet file: {error}") from error


def _csv_columns(head: bytes) -> list[str]:
    return csv_columns(head.decode("utf-8", "replace").partition("\n")[0])[0]


def _lowered(names: Iterable[str]) -> set[str]:
    """Names of columns as tables of boxes take them."""
    return {name.strip().lower() for name in names}
