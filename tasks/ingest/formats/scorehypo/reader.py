"""Annotations as ScoreHypo and ADHMR read them: HybrIK-style json files of 3DPW, Human3.6M, MPI-INF-3DHP, COCO, MPII,
UP3D and SURREAL. The structure of a file shows which of them it is; the option `set` forces one.
"""

import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from schemas.errors import DataError, named
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.disk_table import ImageTable
from tasks.ingest.formats.json_rows import MISSING, UNREADABLE, entry, or_refusal, shown, table
from tasks.ingest.formats.scorehypo.conventions import ROWS_LOOKED_AT, agree
from tasks.ingest.formats.scorehypo.rows import Agreed, frame_of, joints_of, person, picture_path
from tasks.ingest.formats.scorehypo.sets import SETS, PublishedSet, recognise
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.source.files import local_file, open_url
from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.spellings import is_spelled

NAME: Final = "scorehypo"
COUNTED_UP_TO: Final = 1 << 26
"""Bytes of a file whose rows a survey counts; for larger ones that takes too long."""
_IMAGE_KEYS: Final = ("sequence", "file_name", "width", "height", "cam_param")


class ScoreHypoReader:
    """The people of one json file, in its order. `options`: set.

    The pictures' folder is by default that of the file, or the one above if that is called annotations.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        self.name = posixpath.basename(source.url)
        self.images = source.images or root_of(source.url)
        self.file = local_file(source.url, work, "annotations")
        self.container = begins_with(self.file) == "{"
        forced = source.options.get("set")
        self._forced = None if forced is None else named(SETS, str(forced), "set of ScoreHypo's")
        if self._forced and self._forced.container != self.container:
            expected = "an object with images and annotations" if self._forced.container else "a list of people"
            raise DataError(f"{source.url} can't be {self._forced.title}, whose file is {expected}.")

    @cached_property
    def set(self) -> PublishedSet:
        """Which of the seven it is. Raises DataError for none of them, and for a file without people."""
        first = list(islice(items(self.file, "annotations.item" if self.container else "item"), ROWS_LOOKED_AT))
        if not first:
            lists = "a list annotations with at least one entry" if self.container else "at least one entry"
            raise DataError(f"{self.source.url} has no people: {lists} is expected.")
        if self._forced:
            return self._forced
        rows = [row for row in first if isinstance(row, dict)]
        return recognise(self.container, rows, self.name, self.source.url)

    @cached_property
    def agreed(self) -> Agreed:
        """Units and whatever else the first rows settle; where none of these has joints, also the first that have."""
        rows = (row for row in self._rows() if isinstance(row, Mapping))
        first = list(islice(rows, ROWS_LOOKED_AT))
        if not any(self._has_joints(row) for row in first):
            first += islice((row for row in rows if self._has_joints(row)), ROWS_LOOKED_AT)
        fs, base = open_url(self.images)
        return agree(first, self.set, self.source.url, lambda path: is_spelled(fs, base, path))

    def survey(self) -> Survey:
        """What the first rows show; people are counted in files of up to COUNTED_UP_TO bytes."""
        published, agreed = self.set, self.agreed
        rows = sum(1 for _ in self._rows()) if self.file.stat().st_size <= COUNTED_UP_TO else None
        facts = {
            "set": published.title,
            "labels": published.label_kind,
            "body model": "none (joints by equal names)" if published.name == "mpi-inf-3dhp" else "smpl",
            "units": ", ".join(f"{key} in {json_rows.UNITS[factor]}" for key, factor in agreed.units.items()),
            "camera": "given",
            "pictures": posixpath.join(self.images, agreed.folder),
            "crop": "box x 1.25" if published.name == "mpi-inf-3dhp" else f"joints x {published.crop_scale:g}",
        }
        if published.name == "human36m":
            facts["every N"] = "counts frames, by frame_idx or the number that ends the file's name"
        optional = (published.joints, published.human36m)
        remarks = [f"There is no {key}." for key in optional if key and key not in agreed.present]
        name, bodies = f"{NAME} ({published.title})", [] if published.name == "mpi-inf-3dhp" else ["smpl"]
        return Survey(name, [self.source.url], rows, self.images, facts, [*remarks, *agreed.remarks], bodies)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All people in the order of the file."""
        return json_rows.in_batches(self._columns(number, row) for number, row in enumerate(self._rows()))

    def _columns(self, number: int, row: Mapping[str, Any] | RefusedError) -> dict[str, Any]:
        published, agreed = self.set, self.agreed
        place = f"annotations[{number}]" if self.container else f"[{number}]"
        columns = json_rows.new_row(number, f"{self.name}, {place}", "joints", published.crop_scale)
        with json_rows.refusal_in(columns):
            if isinstance(row, RefusedError):
                raise row
            columns["counts_as"] = frame_of(row, published, number)
            columns["path"] = picture_path(row, published, agreed.folder)
            columns |= person(row, published, agreed)
        return columns

    def _has_joints(self, row: Mapping[str, Any]) -> bool:
        return json_rows.unless_refused(None, joints_of, row, self.set.joints) is not None

    def _rows(self) -> Iterator[Mapping[str, Any] | RefusedError]:
        """Each person's row, of a container with the keys of its image; or why it has none."""
        people = items(self.file, "annotations.item" if self.container else "item")
        if not self.container:
            yield from (or_refusal(table, person, "the person") for person in people)
        elif self.set.joined:
            with ImageTable(self.file, _IMAGE_KEYS, self.work) as images:
                yield from (or_refusal(_joined, annotation, images) for annotation in people)
        else:
            absent = RefusedError(MISSING, "the list images ends before this place")
            # images without a labelled person are no people
            couples = zip(people, chain(items(self.file, "images.item"), repeat(absent)), strict=False)
            yield from (or_refusal(_zipped, annotation, image) for annotation, image in couples)


def _joined(annotation: Any, images: ImageTable) -> Mapping[str, Any]:
    row = table(annotation, "the annotation")
    return {**images.image(entry(row, "image_id")), **row}


def _zipped(annotation: Any, image: Any) -> Mapping[str, Any]:
    row = table(annotation, "the annotation")
    if isinstance(image, RefusedError):
        raise image
    own, wanted = table(image, "the image").get("id"), row.get("image_id")
    if own is not None and wanted is not None and own != wanted and shown(own) != shown(wanted):
        raise RefusedError(UNREADABLE, f"the image at this place has the id {shown(own)}, not {shown(wanted)}")
    return {**image, **row}


def root_of(url: str) -> str:
    """The folder of a file, or the one above where that is called annotations."""
    folder = posixpath.dirname(url)
    if posixpath.basename(folder) == "annotations":
        folder = posixpath.dirname(folder)
    return folder or ("/" if url.startswith("/") else ".")
