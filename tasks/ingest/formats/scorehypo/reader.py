"""Annotations as ScoreHypo and ADHMR read them: HybrIK-style json files of 3DPW, Human3.6M, MPI-INF-3DHP, COCO, MPII,
UP3D and SURREAL. Which of them a file is, its structure tells; the option `set` forces one.
"""

import posixpath
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.disk_table import ImageTable
from tasks.ingest.formats.json_rows import MISSING, UNREADABLE, entry, in_batches, refused, shown
from tasks.ingest.formats.scorehypo.conventions import ROWS_LOOKED_AT, agree
from tasks.ingest.formats.scorehypo.rows import Agreed, frame_of, joints_of, person, picture_path
from tasks.ingest.formats.scorehypo.sets import PublishedSet, named, recognise
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.source.files import local_file, open_url
from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.spellings import is_spelled

COUNTED_UP_TO: Final = 1 << 26
"""Bytes of a file whose rows a survey counts; for larger ones that takes too long."""
_IMAGE_KEYS: Final = ("sequence", "file_name", "width", "height", "cam_param")


class ScoreHypoReader:
    """The people of one json file, in its order. `options`: set.

    The pictures' folder is by default that of the file, or the one above if that is called annotations.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        unknown = set(source.options) - {"set"}
        if unknown:
            raise ConfigError(f"The format scorehypo has the option set, not {', '.join(sorted(unknown))}.")
        self.source, self.work = source, work
        self.name = posixpath.basename(source.url)
        self.images = source.images or root_of(source.url)
        self.file = local_file(source.url, work, "annotations")
        self.container = begins_with(self.file) == "{"
        forced = source.options.get("set")
        self._forced = named(forced) if forced is not None else None
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
        """Units and whatever else the first rows settle. Of rows that are no rows, more are looked at."""
        rows = (row for row in self._rows() if isinstance(row, Mapping))
        first = list(islice(rows, ROWS_LOOKED_AT))
        if not any(self._has_joints(row) for row in first):
            first += islice((row for row in rows if self._has_joints(row)), ROWS_LOOKED_AT)
        fs, base = open_url(self.images)
        return agree(first, self.set, self.source.url, lambda path: is_spelled(fs, base, path))

    def survey(self) -> Survey:
        """What the first rows show; people are counted in files of up to COUNTED_UP_TO bytes."""
        made, agreed = self.set, self.agreed
        rows = sum(1 for _ in self._rows()) if self.file.stat().st_size <= COUNTED_UP_TO else None
        units = {1.0: "metres", 0.001: "millimetres"}
        facts = {
            "set": made.title,
            "labels": made.label_kind,
            "body model": "none (joints by equal names)" if made.name == "mpi-inf-3dhp" else "smpl",
            "units": ", ".join(f"{key} in {units[factor]}" for key, factor in agreed.units.items()),
            "camera": "given",
            "pictures": posixpath.join(self.images, agreed.folder),
            "crop": "box x 1.25" if made.name == "mpi-inf-3dhp" else f"joints x {made.crop_scale:g}",
        }
        if made.name == "human36m":
            facts["every N"] = "counts frames, by frame_idx or the number that ends the file's name"
        remarks = [f"There is no {key}." for key in (made.joints, made.human36m) if key and key not in agreed.present]
        return Survey(
            f"scorehypo ({made.title})",
            [self.source.url],
            rows,
            self.images,
            facts,
            [*remarks, *agreed.remarks],
            [] if made.name == "mpi-inf-3dhp" else ["smpl"],
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All people in the order of the file."""
        made, agreed = self.set, self.agreed
        return in_batches(self._told(number, row, made, agreed) for number, row in enumerate(self._rows()))

    def _told(
        self, number: int, row: Mapping[str, Any] | RefusedError, made: PublishedSet, agreed: Agreed
    ) -> dict[str, Any]:
        place = f"annotations[{number}]" if self.container else f"[{number}]"
        told: dict[str, Any] = {
            "row": number,
            "counts_as": number,
            "origin": f"{self.name}, {place}",
            "crop_rule": "joints",
            "crop_scale": made.crop_scale,
        }
        if isinstance(row, RefusedError):
            return told | refused(row)
        told["counts_as"] = frame_of(row, made, number)
        try:
            told["path"] = picture_path(row, made, agreed.folder)
            return told | person(row, made, agreed)
        except RefusedError as error:
            return told | refused(error)

    def _has_joints(self, row: Mapping[str, Any]) -> bool:
        try:
            return joints_of(row, self.set.joints) is not None
        except RefusedError:
            return False

    def _rows(self) -> Iterator[Mapping[str, Any] | RefusedError]:
        """Each person's row, of a container with the keys of its image; or why it has none."""
        if not self.container:
            for row in items(self.file, "item"):
                yield row if isinstance(row, dict) else _no_row(row)
        elif self.set.joined:
            yield from self._joined()
        else:
            yield from self._zipped()

    def _joined(self) -> Iterator[Mapping[str, Any] | RefusedError]:
        with ImageTable(self.file, _IMAGE_KEYS, self.work) as table:
            for annotation in items(self.file, "annotations.item"):
                if not isinstance(annotation, dict):
                    yield _no_row(annotation)
                    continue
                try:
                    yield {**table.image(entry(annotation, "image_id")), **annotation}
                except RefusedError as error:
                    yield error

    def _zipped(self) -> Iterator[Mapping[str, Any] | RefusedError]:
        absent = object()
        annotations, images = items(self.file, "annotations.item"), items(self.file, "images.item")
        for annotation, image in zip_longest(annotations, images, fillvalue=absent):
            if annotation is absent:
                return  # images that nobody is labelled in are no people
            if not isinstance(annotation, dict):
                yield _no_row(annotation)
            elif image is absent:
                yield RefusedError(MISSING, "the list images ends before this place")
            elif not isinstance(image, dict):
                yield _no_row(image)
            elif _differ(image.get("id"), annotation.get("image_id")):
                ids = f"{shown(image['id'])}, not {shown(annotation['image_id'])}"
                yield RefusedError(UNREADABLE, f"the image at this place has the id {ids}")
            else:
                yield {**image, **annotation}


def root_of(url: str) -> str:
    """The folder of a file, or the one above where that is called annotations."""
    folder = posixpath.dirname(url)
    if posixpath.basename(folder) == "annotations":
        folder = posixpath.dirname(folder)
    return folder or ("/" if url.startswith("/") else ".")


def _differ(one: Any, other: Any) -> bool:
    return one is not None and other is not None and one != other and shown(one) != shown(other)


def _no_row(value: Any) -> RefusedError:
    return RefusedError(UNREADABLE, f"an object with keys is expected, not {shown(value)}")
