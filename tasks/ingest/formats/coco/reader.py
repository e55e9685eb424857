"""People in COCO's form: boxes and, if there are, key-points; photographs without 3D labels."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import mode
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.skeleton import JOINTS
from schemas.errors import DataError
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.disk_table import ImageTable
from tasks.ingest.formats.json_rows import UNREADABLE, beyond, entry, numbers, shown, sides, unless_refused
from tasks.ingest.formats.scorehypo.reader import COUNTED_UP_TO, root_of
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.people.box_checks import are_corners, check_box_form, check_box_points, extent
from tasks.ingest.people.keypoints import JOINTS_29, names_of
from tasks.ingest.source.files import local_file, open_url
from tasks.ingest.source.folder import RefusedError
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.spellings import is_spelled

NAME: Final = "coco"
SKELETON: Final = names_of("coco")
"""COCO's 17 key-points, which count where the file's category names none."""
SLOTS: Final = {name: names_of(JOINTS_29).index(name) for name in SKELETON if name in names_of(JOINTS_29)}
"""Those that are one of the 29 joints. COCO's hips are on the visible body, a body model's further in."""
_TOES: Final = {name: names_of(JOINTS_29).index(name) for name in ("left_bigtoe", "right_bigtoe")}
"""Of COCO-WholeBody and Halpe, beside the 17."""
_PLACES: Final = {name.replace("_", ""): place for name, place in (SLOTS | _TOES).items()}
_SIDE: Final = re.compile(r"(?!(?i:left|right))[lrLR](?=[^a-z])")
CROP_SCALE: Final = 1.25
_IMAGE_KEYS: Final = ("file_name", "width", "height")
_MOST_CATEGORIES: Final = 10_000
ROWS_LOOKED_AT: Final = 200
_NO_BOX: Final = np.full(4, np.nan)
_NO_SIZE: Final[tuple[int | None, int | None]] = (None, None)
_COUNTS: Final = {14: "CrowdPose", 18: "OpenPose", 25: "OpenPose", 26: "Halpe", 133: "COCO-WholeBody", 136: "Halpe"}
"""Data sets in COCO's form by their key-points a person."""


class CocoReader:
    """The people of a COCO file, in the order of its annotations. `options`: category (default "person").

    Annotations of the file's other categories are no people and are left out. The pictures' folder is by default the
    one above the annotations; file names are looked for there, in images, and in the folder that the file's name ends
    with (val2017).
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        self.name = posixpath.basename(source.url)
        self.images = source.images or root_of(source.url)
        self.file = local_file(source.url, work, "annotations")
        if begins_with(self.file) != "{":
            raise DataError(
                f"{source.url} is a list; a COCO file is an object with images and annotations. A list of detections "
                "is for a folder of pictures: --format folder --source DIR --boxes FILE."
            )
        self.category = str(source.options.get("category", "person"))

    @cached_property
    def categories(self) -> Mapping[str, Mapping[str, Any]]:
        """The file's categories by id as text."""
        first = islice(items(self.file, "categories.item"), _MOST_CATEGORIES)
        return {shown(each.get("id")): each for each in first if isinstance(each, dict)}

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
            points = self.categories[name].get("keypoints")
            if isinstance(points, list) and points:
                return tuple(str(point) if isinstance(point, str) else "" for point in points)
        return SKELETON

    @cached_property
    def first(self) -> list[Mapping[str, Any]]:
        """The first annotations, which show what is true of the whole file."""
        return [each for _, each in islice(self._annotations(), ROWS_LOOKED_AT) if isinstance(each, dict)]

    @cached_property
    def corners(self) -> bool:
        """Whether most boxes are two corners."""
        boxes = [unless_refused(_NO_BOX, numbers, each.get("bbox"), "bbox", 4) for each in self.first]
        extents = np.array([extent(_evidence(each)) for each in self.first]).reshape(-1, 4)
        images: list[Mapping[str, Any]] = [{}] * len(self.first)
        if not np.isfinite(extents).all(1).any():
            with ImageTable(self.file, _IMAGE_KEYS, self.work) as table:
                images = [unless_refused({}, table.image, each.get("image_id")) for each in self.first]
        sizes = np.array([unless_refused(_NO_SIZE, sides, image) for image in images], np.float64)
        return are_corners(np.array(boxes).reshape(-1, 4), extents, sizes.reshape(-1, 2))

    @cached_property
    def point_count(self) -> int:
        """Key-points of most people."""
        flat = (beyond(each.get("keypoints"), 0) for each in self.first)
        counts = [len(values) // 3 for values in flat if values is not None and len(values) % 3 == 0]
        return mode(counts) if counts else len(self.skeleton)

    @cached_property
    def slots(self) -> Mapping[int, int]:
        """Which of the key-points is which of the 29 joints, by its name; of several with one name, the first."""
        slots: dict[int, int] = {}
        for at, name in enumerate(self.skeleton):
            joint = joint_called(name)
            if joint is not None and joint not in slots.values():
                slots[at] = joint
        return slots

    @property
    def named(self) -> bool:
        """The key-points have the count that the category, or else COCO, names."""
        return self.point_count == len(self.skeleton)

    @cached_property
    def folder(self) -> str:
        """Where below `images` the pictures are: the first of the usual places that has one of the first three."""
        images = (image for image in islice(items(self.file, "images.item"), 3) if isinstance(image, dict))
        ending = re.search(r"(?:train|val|test)\d{4}", self.name)
        places = ["", "images", *([ending[0], f"images/{ending[0]}"] if ending else [])]
        fs, base = open_url(self.images)
        for name in (image.get("file_name") for image in images):
            for place in places:
                if isinstance(name, str) and is_spelled(fs, posixpath.join(base, place), name):
                    return place
        return ""

    @property
    def _expected(self) -> str:
        """What a reason calls the key-points of a row that has another count than most."""
        names = "no category names any" if self.skeleton is SKELETON else f"the category names {len(self.skeleton)}"
        return f"keypoints (x, y and visibility of each; {names})"

    def survey(self) -> Survey:
        """Categories and key-points; people are counted in files of up to COUNTED_UP_TO bytes."""
        small = self.file.stat().st_size <= COUNTED_UP_TO
        rows = sum(1 for _ in self._annotations()) if small else None
        among_29 = len(self.slots)
        named = f"{len(self.skeleton)}, of which {among_29} are among the 29 joints"
        facts = {
            "body model": "none: boxes and key-points only",
            "key-points": named if self.named else f"{self.point_count}, without names: compared with the boxes only",
            "camera": "not given: from EXIF or the picture's diagonal",
            "pictures": posixpath.join(self.images, self.folder),
            "crop": f"box x {CROP_SCALE:g}",
        }
        remarks = []
        if len(self.categories) > 1:
            remarks.append(f"Only the category {self.category!r} of {len(self.categories)} is taken.")
        if not self.named:
            whose = _COUNTS.get(self.point_count)
            remarks.append(
                f"Most people have {self.point_count} key-points{f' (as {whose} has)' if whose else ''}, where the "
                f"category names {len(self.skeleton)}: nothing says what they are, so that people are taken without "
                "them. Write their names into the category's keypoints to have them."
            )
        if self.corners:
            remarks.append(
                "Most boxes look like corners (x1, y1, x2, y2), so none is taken: write bbox as x, y, width, height."
            )
        return Survey(NAME, [self.source.url], rows, self.images, facts, remarks)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All people in the order of the file."""
        return json_rows.in_batches(row for _, row in self.rows_by_id())

    def rows_by_id(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """All people in the order of the file, with their ids as the file has them."""
        empty = True
        with ImageTable(self.file, _IMAGE_KEYS, self.work) as table:
            for number, annotation in self._annotations():
                empty = False
                row = json_rows.new_row(number, f"{self.name}, annotations[{number}]", "box", CROP_SCALE)
                with json_rows.refusal_in(row):
                    image = table.image(entry(json_rows.table(annotation, "the annotation"), "image_id"))
                    name = json_rows.text(entry(image, "file_name"), "file_name")
                    row["path"] = posixpath.join(self.folder, name)
                    row |= self._person(annotation, image)
                yield annotation.get("id") if isinstance(annotation, dict) else None, row
        if empty:
            raise DataError(
                f"{self.source.url} has no people: its list annotations has no entry of the category {self.category!r}."
            )

    def _annotations(self) -> Iterator[tuple[int, Any]]:
        """Annotations with their place in the list, without those that the file counts to another category."""
        others = frozenset(self.categories) - self.people
        for number, annotation in enumerate(items(self.file, "annotations.item")):
            if not (isinstance(annotation, dict) and shown(annotation.get("category_id")) in others):
                yield number, annotation

    def _person(self, annotation: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
        width, height = size = sides(image)
        category = annotation.get("category_id")
        if self.people and category is not None and shown(category) not in self.people:
            raise RefusedError(UNREADABLE, f"category_id is {shown(category)}, which is none of the file's categories")
        if annotation.get("iscrowd"):
            raise RefusedError("crowd", "iscrowd is set: the box is of several people")
        check_box_form(numbers(entry(annotation, "bbox"), "bbox", 4), self.corners)
        row: dict[str, Any] = {"box": json_rows.box(annotation["bbox"]), "width_px": width, "height_px": height}
        if annotation.get("keypoints"):
            points = _marked(json_rows.points(annotation["keypoints"], self._expected, (self.point_count,), (3,)))
            check_box_points(row["box"], points, size)
            slots = self.slots if self.named else {}
            marked = {at: joint for at, joint in slots.items() if np.isfinite(points[at]).all()}
            if marked:
                row["pixels"] = json_rows.placed(points, marked, JOINTS)
        check_box_points(row["box"], _outline(annotation), size, "corners of the mask")
        return row


def joint_called(name: str) -> int | None:
    """Which of the 29 joints a key-point of this name is: left_shoulder, LShoulder, L_Shoulder, "left shoulder".

    None for those that are none, or another place on the body: COCO's hips, a neck or head of the visible body.
    """
    short = _SIDE.match(name.strip())
    spelled = f"{'left' if short[0] in 'lL' else 'right'}{name.strip()[1:]}" if short else name
    return _PLACES.get(re.sub(r"[^a-z0-9]", "", spelled.lower()))


def _marked(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """x and y (K, 2) of key-points (K, 3); NaN where they are not marked."""
    return np.where(points[:, 2:] > 0, points[:, :2], np.nan)


def _evidence(annotation: Mapping[str, Any]) -> NDArray[np.float64]:
    """Points (K, 2) that a box should be around: the mask's corners, else the marked key-points."""
    outline = _outline(annotation)
    if len(outline):
        return outline
    flat = unless_refused(np.empty(0), numbers, annotation.get("keypoints"), "keypoints", 3, True, True)
    return _marked(flat.reshape(-1, 3)) if len(flat) % 3 == 0 else np.empty((0, 2))


def _outline(annotation: Mapping[str, Any]) -> NDArray[np.float64]:
    """The corners (K, 2) of a mask that is polygons; none for any other, and for what can't be read."""
    polygons = annotation.get("segmentation")
    if not isinstance(polygons, list) or not all(isinstance(each, list) for each in polygons):
        return np.empty((0, 2))
    try:
        return np.array([number for polygon in polygons for number in polygon], np.float64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError):
        return np.empty((0, 2))
