"""Boxes as detectors and trackers write them: COCO (json), YOLO (a text for each picture) and MOT (CSV).

They name pictures in ways of their own, score each box, and hold other things than people, too. They become a table of
boxes like any other; a box of something else, or with a low score, is filtered.
"""

import csv
import io
import math
import posixpath
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from schemas.errors import ConfigError, DataError
from tasks.ingest.people.box_tables import BoxTable
from tasks.ingest.people.boxes import REQUIRED, number_or_nan, read_boxes
from tasks.ingest.people.picture_names import PictureNames
from tasks.ingest.source.files import local_file, open_file, open_url
from tasks.ingest.source.folder import LOW_SCORE, OTHER_CLASS, RefusedError
from tasks.ingest.source.json_stream import begins_with, items
from tasks.ingest.source.parquet_files import MOST_ROWS
from tasks.ingest.source.text_files import as_utf8, without_gz

LEAST_SCORE: Final = 0.5
Form = Literal["coco", "yolo", "mot"]
TITLES: Final[Mapping[Form, str]] = {"coco": "COCO results", "yolo": "YOLO's texts", "mot": "a MOT table"}
PERSON: Final[Mapping[Form, str]] = {"coco": "1", "yolo": "0", "mot": "1"}
"""The class of people, where nothing else is said: of COCO's 91, of the 80 that YOLO counts, of MOT's."""
_LONGEST_LINE: Final = 1 << 16
_YOLO_VALUES: Final = (5, 6, 7)
_MOT_VALUES: Final = (6, 10)
_MOT_WITH_CLASS: Final = 9
"""Columns of MOT's ground truth, which alone has a class."""
_NOT_SCORED: Final = -1.0
_NO_BOX: Final = (None, None, None, None)
_UNREADABLE: Final = "row not readable"
_CLASSES_TXT: Final = "classes.txt"
"""What some tools write beside YOLO's texts: the names of the classes."""


class _Box(NamedTuple):
    """A box as a file has it. `values` are x, y, w, h; what isn't known is None."""

    picture: Any
    origin: str
    values: Sequence[Any]
    kind: Any = None
    score: Any = None
    track: Any = None
    refusal: RefusedError | None = None


@dataclass(frozen=True)
class Limits:
    """Which boxes count. `person` is the class of people, None for the form's own."""

    least_score: float = LEAST_SCORE
    person: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Limits":
        """As the options least_score and person_class say. Raises ConfigError for what is no score."""
        text = options.get("least_score", LEAST_SCORE)
        least = number_or_nan(text)
        if not math.isfinite(least):
            raise ConfigError(f"The option least_score is a number, such as 0.3, not {text!r}.")
        person = options.get("person_class")
        return cls(least, None if person is None else str(person).strip())


def read_people(url: str, pictures: Sequence[str], limits: Limits) -> BoxTable:
    """The rows of a table of boxes, or of what a detector wrote, whose pictures are among `pictures` (keys).

    Raises DataError where it can't be read as a whole, or no box of it is of a person.
    """
    form = form_of(url)
    if form is None:
        return read_boxes(url)
    with tempfile.TemporaryDirectory(prefix="adhmr-boxes-") as work:
        files = _texts(url) if form == "yolo" else [url]
        reader = {"coco": _coco, "yolo": _yolo, "mot": _mot}[form]
        boxes = list(islice(reader(files, url, Path(work)), MOST_ROWS + 1))
    if len(boxes) > MOST_ROWS:
        raise DataError(f"{url} has more than the {MOST_ROWS} boxes that are read. Split it.")
    return _table(form, url, files, boxes, PictureNames(pictures), limits)


def form_of(url: str) -> Form | None:
    """Which detector's form a file or folder has, by its beginning; None for a table with named columns, and for what
    isn't there."""
    fs, path = open_url(url)
    if fs.isdir(path):
        return "yolo"
    ending = without_gz(url).rsplit(".", 1)[-1].lower()
    with suppress(DataError):  # whoever reads it says what is wrong with it
        if ending == "json":
            with tempfile.TemporaryDirectory(prefix="adhmr-boxes-") as work:
                file = local_file(url, Path(work), "table of boxes")
                first = next(items(file, _list_in(file)), None)
            return "coco" if isinstance(first, dict) and {"image_id", "bbox"} <= set(first) else None
        if ending in ("csv", "txt"):
            words = next((line for _, line in _lines(url) if line.strip()), "").split(",")
            if len(words) >= min(_MOT_VALUES) and all(math.isfinite(number_or_nan(word)) for word in words):
                return "mot"
    return "yolo" if ending == "txt" else None


def _table(
    form: Form, url: str, files: Sequence[str], boxes: Sequence[_Box], names: PictureNames, limits: Limits
) -> BoxTable:
    person = limits.person or PERSON[form]
    classes = Counter(_word(box.kind) for box in boxes if box.kind is not None and box.refusal is None)
    if not boxes:
        raise DataError(f"{url} ({TITLES[form]}) has no box.")
    if classes and not classes[person] and sum(classes.values()) == len(boxes):
        raise DataError(
            f"{url} ({TITLES[form]}) has no box of class {person}, but of {', '.join(sorted(classes)[:20])}. Say which "
            "one people are with the option person_class."
        )
    tracked = all(_is_count(box.track) for box in boxes if box.refusal is None)
    rows: list[dict[str, Any]] = []
    refused: dict[int, RefusedError] = {}
    for place, box in enumerate(boxes):
        row = {"path": str(box.picture), **dict(zip("xywh", box.values, strict=True))}
        if tracked:
            row["person"] = box.track
        rows.append(row)
        refusal = _refusal(box, person, limits.least_score)
        try:
            row["path"] = names.meant(box.picture)
        except RefusedError as unclear:
            refusal = refusal or unclear
        if refusal is not None:
            refused[place] = refusal
    left_out = Counter(refusal.reason for refusal in refused.values())
    remarks = [f"{url} is read as {TITLES[form]}."]
    if left_out[OTHER_CLASS]:
        remarks.append(f"{left_out[OTHER_CLASS]} of its {len(boxes)} boxes are of other classes than {person}.")
    if left_out[LOW_SCORE]:
        remarks.append(
            f"{left_out[LOW_SCORE]} of its {len(boxes)} boxes have a score below {limits.least_score:g} and are left "
            "out (option least_score)."
        )
    columns = (*REQUIRED, *(["person"] if tracked else []))
    return BoxTable(
        tuple(rows),
        {name: name for name in columns},
        columns,
        tuple(files),
        refused,
        tuple(box.origin for box in boxes),
        form == "yolo",
        tuple(remarks),
    )


def _refusal(box: _Box, person: str, least_score: float) -> RefusedError | None:
    """Why a box doesn't count; None if it does."""
    if box.refusal is not None:
        return box.refusal
    if box.kind is not None and _word(box.kind) != person:
        return RefusedError(OTHER_CLASS, f"class {_word(box.kind)}, not {person}")
    if box.score is None:
        return None
    score = number_or_nan(box.score)
    if not math.isfinite(score):
        return RefusedError(_UNREADABLE, f"score={box.score}: a number is expected")
    return RefusedError(LOW_SCORE, f"score {score:g}, below {least_score:g}") if score < least_score else None


def _coco(files: Sequence[str], url: str, work: Path) -> Iterator[_Box]:
    """A list of results, or an object whose list `images` says what its ids mean."""
    file = local_file(files[0], work, "table of boxes")
    name, called = posixpath.basename(url), {}
    if begins_with(file) == "{":
        images = (image for image in items(file, "images.item") if isinstance(image, dict))
        called = {str(image.get("id")): image.get("file_name") for image in images}
    for number, row in enumerate(items(file, _list_in(file)), start=1):
        origin = f"{name}: row {number}"
        if not isinstance(row, dict):
            yield _unreadable("?", origin, "an object with image_id and bbox is expected")
            continue
        box, image = row.get("bbox"), row.get("image_id")
        values = box if isinstance(box, list) and len(box) == 4 else _NO_BOX
        picture = called.get(str(image)) or image
        yield _Box(picture, origin, values, row.get("category_id"), row.get("score"))


def _mot(files: Sequence[str], url: str, work: Path) -> Iterator[_Box]:
    """frame, track, left, top, width, height, score, and then a class and how much is seen, or three of no use."""
    name = posixpath.basename(url)
    for number, line in _lines(url):
        words = [word.strip() for word in next(csv.reader([line]), [])]
        if not any(words):
            continue
        origin = f"{name}: row {number}"
        if not _MOT_VALUES[0] <= len(words) <= _MOT_VALUES[1]:
            what = f"{len(words)} values; {_MOT_VALUES[0]} to {_MOT_VALUES[1]} are expected (frame, track, x, y, w, h)"
            yield _unreadable("?", origin, what)
            continue
        frame = number_or_nan(words[0])
        picture = int(frame) if math.isfinite(frame) and frame == int(frame) else words[0]
        score = words[6] if len(words) > 6 and number_or_nan(words[6]) != _NOT_SCORED else None
        kind = words[7] if len(words) == _MOT_WITH_CLASS else None
        yield _Box(picture, origin, words[2:6], kind, score, words[1])


def _yolo(files: Sequence[str], url: str, work: Path) -> Iterator[_Box]:
    """A text for each picture: class, middle and size in parts of the picture; if known score, and track.

    A sixth value is a score unless all of them are whole numbers, as tracks are.
    """
    fs, base = open_url(url)
    within = fs.isdir(base)
    found = []
    for file in files:
        text = posixpath.relpath(open_url(file)[1], base) if within else posixpath.basename(file)
        found += [(text, number, line.split()) for number, line in _lines(file) if line.strip()]
    sixths = [words[5] for _, _, words in found if len(words) == 6]
    scored = any(not _whole(word) for word in sixths)
    for text, number, words in found:
        origin, picture = f"{text}: row {number}", without_gz(text).rsplit(".", 1)[0]
        if len(words) not in _YOLO_VALUES:
            what = f"{len(words)} values; class, x, y, w, h and perhaps score and track are expected"
            yield _unreadable(picture, origin, what)
            continue
        x, y, w, h = (number_or_nan(word) for word in words[1:5])
        score = words[5] if len(words) == 7 or (len(words) == 6 and scored) else None
        track = words[-1] if len(words) == 7 or (len(words) == 6 and not scored) else None
        yield _Box(picture, origin, (x - w / 2, y - h / 2, w, h), words[0], score, track)


def _texts(url: str) -> list[str]:
    """YOLO's texts in a folder and below it, or the one that is named. Raises DataError where there is none."""
    fs, path = open_url(url)
    if not fs.isdir(path):
        return [url]
    names = sorted(posixpath.relpath(str(name), path) for name in fs.find(path))
    texts = [name for name in names if name.endswith(".txt") and posixpath.basename(name) != _CLASSES_TXT]
    if not texts:
        raise DataError(f"There is no text of boxes (.txt, a YOLO detector's) in the folder {url}.")
    return [posixpath.join(url, name) for name in texts]


def _lines(url: str) -> Iterator[tuple[int, str]]:
    """The lines of a text with their numbers, from 1 on. Raises DataError where it can't be read."""
    fs, path = open_url(url)
    try:
        with io.TextIOWrapper(as_utf8(open_file(fs, path), url), "utf-8") as text:
            yield from enumerate(iter(lambda: text.readline(_LONGEST_LINE), ""), start=1)
    except UnicodeDecodeError as error:
        raise DataError(f"The boxes {url} are no readable text: {error}. Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"The boxes {url} can't be read: {error}") from error


def _list_in(file: Path) -> str:
    """Where the boxes stand in COCO's json."""
    return "annotations.item" if begins_with(file) == "{" else "item"


def _unreadable(picture: str, origin: str, detail: str) -> _Box:
    return _Box(picture, origin, _NO_BOX, refusal=RefusedError(_UNREADABLE, detail))


def _is_count(value: Any) -> bool:
    number = number_or_nan(value)
    return math.isfinite(number) and number == int(number) and number >= 0


def _whole(value: str) -> bool:
    """Whether a word is written as a whole number from 0."""
    return value.isascii() and value.isdigit()


def _word(value: Any) -> str:
    """A class as text, whichever way its number is written."""
    number = number_or_nan(value)
    return str(int(number)) if math.isfinite(number) and number == int(number) else str(value)[:50]
