"""HumanData: .npz files of mmhuman3d's making, and the data sets that are published in them.

One source may be several files (RenBody comes in two parts): a pattern with *, ? or [], or names with commas between.
They are read one after the other, as if they were one. Paths of pictures are relative to `images`, without it to the
folder of the first file.
"""

import posixpath
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from schemas.errors import DataError
from tasks.ingest.formats.humandata.file import COMPRESSED, KEYPOINTS_2D, KEYPOINTS_3D, HumanDataFile
from tasks.ingest.formats.humandata.rows import HumanDataRows
from tasks.ingest.formats.humandata.variants import PLAIN, options_of
from tasks.ingest.formats.json_rows import as_batch
from tasks.ingest.people.annotations import ROWS_AT_ONCE, AnnotationSource, Survey
from tasks.ingest.source.files import is_local, local_file, open_url
from tasks.ingest.source.folder import printable
from tasks.ingest.source.npz_columns import Npz

NAME = "humandata"
_MEMBERS = {
    *("image_path", "bbox_xywh", "smplx", "smpl", "smplh", "meta", "misc", "gender", COMPRESSED, "__data_len__"),
    *("keypoints2d_mask", "keypoints3d_mask", "lhand_bbox_xywh", "rhand_bbox_xywh", "face_bbox_xywh"),
    *(f"{name}_mask" for name in (*KEYPOINTS_2D, *KEYPOINTS_3D)),
}
"""All that are used or may be left out without a word, but for key-points."""


class HumanData:
    """Reads HumanData (a `tasks.ingest.people.annotations.Reader`). Options: see `variants.Options`.

    Raises DataError for a source that can't be used as a whole.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        self.options = options_of(source)
        self.urls = files_of(source.url)

    def survey(self) -> Survey:
        """What the source holds. Reads headers, dictionaries and some rows."""
        parts, variant = self._parts, self.options.variant
        facts = {name: "; ".join(dict.fromkeys(part.facts[name] for part in parts)) for name in parts[0].facts}
        remarks = [*self.options.remarks, *(remark for part in parts for remark in part.remarks), *self._unused()]
        name = NAME if variant is PLAIN else f"{NAME} ({variant.name})"
        rows = sum(part.file.count for part in parts)
        bodies = list(dict.fromkeys(part.body.model for part in parts if part.body))
        # rows that an older release refused come in, once the source is ingested again
        others = "places are fitted" if any(part.missing.fits for part in parts) else None
        return Survey(name, self.urls, rows, self.images, facts, remarks, bodies, others)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, file after file."""
        first = 0
        for part in self._parts:
            for start in range(0, part.file.count, ROWS_AT_ONCE):
                yield as_batch(part.rows(start, min(start + ROWS_AT_ONCE, part.file.count), first))
            first += part.file.count

    @property
    def images(self) -> str:
        """The folder of pictures. DataError where files of several folders leave it open."""
        if self.source.images is not None:
            return self.source.images
        folders = {posixpath.dirname(url) or "." for url in self.urls}
        if len(folders) > 1:
            raise DataError(
                f"{self.source.url} names files in several folders: say with images where the pictures are."
            )
        return folders.pop()

    @cached_property
    def _parts(self) -> list[HumanDataRows]:
        parts = []
        for number, url in enumerate(self.urls):
            work = self.work / f"part-{number}"
            path = local_file(url, work, "HumanData file")
            file = HumanDataFile(Npz(path, work, printable(url.rsplit("/", 1)[-1])), self.options.body)
            parts.append(HumanDataRows(file, self.options))
        return parts

    def _unused(self) -> Iterator[str]:
        for part in self._parts:
            used = {points.name for points in (part.file.keypoints_2d, part.file.keypoints_3d) if points}
            yield from part.file.npz.unused(_MEMBERS | used)


def files_of(url: str) -> list[str]:
    """The files that a path, a pattern, or several of them with commas between mean. DataError where none is."""
    fs, path = open_url(url)
    try:
        if fs.isfile(path):
            return [url]
        files: list[str] = []
        for part in (piece.strip() for piece in url.split(",")):
            if not any(sign in part for sign in "*?["):
                files.append(part)
                continue
            fs, path = open_url(part)
            names = sorted(str(name) for name in fs.glob(path))
            files += names if is_local(fs) else [str(fs.unstrip_protocol(name)) for name in names]
    except (OSError, ValueError) as error:
        raise DataError(f"The HumanData file {url} can't be looked up: {error}") from error
    files = [name for name in dict.fromkeys(files) if name]
    if not files:
        raise DataError(f"There is no HumanData file at {url}.")
    return files
