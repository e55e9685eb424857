"""People in COCO's form: boxes and, if there are, key-points; photographs without 3D labels."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from models.skeleton import JOINTS
from schemas.errors import ConfigError, DataError
from tasks.ingest.annotations import AnnotationSource, Survey
from tasks.ingest.files import local_file, open_url
from tasks.ingest.folder import RefusedError
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.disk_table import ImageTable
from tasks.ingest.formats.json_rows import NOT_FINITE, POINT_COUNT, UNREADABLE, entry, in_batches, placed, shown
from tasks.ingest.formats.json_stream import begins_with, items
from tasks.ingest.formats.keypoints import JOINTS_29, names_of
from tasks.ingest.formats.scorehypo import COUNTED_UP_TO, root_of
from tasks.ingest.spellings import is_spelled

SKELETON: Final = names_of("coco")
"""COCO's 17 key-points, which count where the file's category names none."""
SLOTS: Final = {name: names_of(JOINTS_29).index(name) for name in SKELETON if name in names_of(JOINTS_29)}
"""Those that are one of the 29 joints. COCO's hips lie where they are seen, a body model's further in."""
CROP_SCALE: Final = 1.25
_IMAGE_KEYS: Final = ("file_name", "width", "height")
_MOST_CATEGORIES: Final = 10_000


class CocoReader:
    """The people of a COCO file, in the order of its annotations. `options`: category (default "person").

    Annotations of the file's other categories are no people and are left out. The pictures' folder is by default the
    one above the annotations; file names are looked for there, in images, and in the folder that the file's name ends
    with (val2017).
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        unknown = set(source.options) - {"category"}
        if unknown:
            raise ConfigError(f"The format coco has the option category, not {', '.join(sorted(unknown))}.")
        self.source, self.work = source, work
        self.name = posixpath.basename(source.url)
        self.images = source.images or root_of(source.url)
        self.file = local_file(source.url, work, "annotations")
        if begins_with(self.file) != "{":
            raise DataError(
                f"{source.url} is a list; a COCO file is an object with images and annotations. A list of detections "
                "names no pictures: give the file that they were made from, or a table of boxes."
            )
        self.category = str(source.options.get("category", "person"))

    @cached_property
    def categories(self) -> Mapping[str, Mapping[str, Any]]:
        """The file's categories by id as text."""
        found = islice(items(self.file, "categories.item"), _MOST_CATEGORIES)
        return {shown(each.get("id")): each for each in found if isinstance(each, dict)}

    @cached_property
    def people(self) -> frozenset[str]:
        """Ids of the category that is wanted. Raises DataError where the file has others only."""
        ids = frozenset(name for name, each in self.categories.items() if each.get("name") == self.category)
        if self.categories and not ids:
            names = ", ".join(shown(each.get("name")) for each in islice(self.categories.values(), 20))
            raise DataError(
                f"{self.source.url} has no category {self.category!r}, but {names}. Name the one that people are in "
                "with the option category."
            )
        return ids

    @cached_property
    def skeleton(self) -> tuple[str, ...]:
        """Names of the key-points, in order."""
        for name in sorted(self.people):
            given = self.categories[name].get("keypoints")
            if isinstance(given, list) and given:
                return tuple(str(point) if isinstance(point, str) else "" for point in given)
        return SKELETON

    @cached_property
    def folder(self) -> str:
        """Where below `images` the pictures are: the first of the usual places that has one of the first three."""
        names = [image.get("file_name") for image in islice(items(self.file, "images.item"), 3) if _is_table(image)]
        ending = re.search(r"(?:train|val|test)\d{4}", self.name)
        places = ["", "images", *([ending[0], f"images/{ending[0]}"] if ending else [])]
        fs, base = open_url(self.images)
        for name in names:
            for place in places if isinstance(name, str) else []:
                if is_spelled(fs, posixpath.join(base, place), name):
                    return place
        return ""

    def survey(self) -> Survey:
        """Categories and key-points; people are counted in files of up to COUNTED_UP_TO bytes."""
        small = self.file.stat().st_size <= COUNTED_UP_TO
        rows = sum(1 for _ in self._annotations()) if small else None
        known = [name for name in self.skeleton if name in SLOTS]
        facts = {
            "body model": "none: boxes and key-points only",
            "key-points": f"{len(self.skeleton)}, of which {len(known)} are among the 29 joints",
            "camera": "not given: from EXIF or the picture's diagonal",
            "pictures": posixpath.join(self.images, self.folder),
            "crop": f"box x {CROP_SCALE:g}",
        }
        remarks = []
        if len(self.categories) > 1:
            remarks.append(f"Only the category {self.category!r} of {len(self.categories)} is taken.")
        return Survey("coco", [self.source.url], rows, self.images, facts, remarks)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All people in the order of the file."""
        return in_batches(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        empty = True
        with ImageTable(self.file, _IMAGE_KEYS, self.work) as table:
            for number, annotation in self._annotations():
                empty = False
                told: dict[str, Any] = {
                    "row": number,
                    "counts_as": number,
                    "origin": f"{self.name}, annotations[{number}]",
                    "crop_rule": "box",
                    "crop_scale": CROP_SCALE,
                }
                try:
                    image = table.image(entry(_table(annotation), "image_id"))
                    name = json_rows.text(entry(image, "file_name"), "file_name")
                    told["path"] = posixpath.join(self.folder, name)
                    told |= json_rows.size(image) | self._person(annotation)
                except RefusedError as error:
                    told |= json_rows.refused(error)
                yield told
        if empty:
            raise DataError(
                f"{self.source.url} has no people: its list annotations has no entry of the category {self.category!r}."
            )

    def _annotations(self) -> Iterator[tuple[int, Any]]:
        """Annotations with their place in the list, without those that the file counts to another category."""
        others = frozenset(self.categories) - self.people
        for number, annotation in enumerate(items(self.file, "annotations.item")):
            if not (_is_table(annotation) and shown(annotation.get("category_id")) in others):
                yield number, annotation

    def _person(self, annotation: Mapping[str, Any]) -> dict[str, Any]:
        category = annotation.get("category_id")
        if self.people and category is not None and shown(category) not in self.people:
            raise RefusedError(UNREADABLE, f"category_id is {shown(category)}, which is none of the file's categories")
        if annotation.get("iscrowd"):
            raise RefusedError("crowd", "iscrowd is set: the box is of several people")
        told: dict[str, Any] = {"box": json_rows.box(entry(annotation, "bbox"))}
        if annotation.get("keypoints"):
            pixels = self._pixels(annotation["keypoints"])
            if pixels is not None:
                told["pixels"] = pixels
        return told

    def _pixels(self, value: Any) -> np.ndarray | None:
        """The 29 joints as far as key-points of their names are marked; None where none is."""
        count = len(self.skeleton)
        try:
            found = json_rows.points(value, "keypoints", (count,), (3,))
        except RefusedError as error:
            if error.reason == NOT_FINITE:
                raise
            told = f"{error.detail}; {count} times x, y and visibility are expected"
            raise RefusedError(POINT_COUNT if error.reason == POINT_COUNT else UNREADABLE, told) from error
        marked = found[:, 2] > 0
        slots = {at: SLOTS[name] for at, name in enumerate(self.skeleton) if name in SLOTS and marked[at]}
        return placed(found[:, :2], slots, JOINTS) if slots else None


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _table(value: Any) -> Mapping[str, Any]:
    return json_rows.table(value, "the annotation")
