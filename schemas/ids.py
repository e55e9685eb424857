"""Names of pictures and people: `image_id` = dataset/split/key and `instance_id` = image_id#person.

Data set and split become folder names and parts of SQL, so they keep to a small alphabet; a key may hold anything that
a file name may, slashes included, but no `#` and no control characters.
"""

import re
from typing import NamedTuple, NewType

from schemas.errors import DataError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_KEY = re.compile(r"[^#\x00-\x1f\x7f]{1,500}")
_PERSON = re.compile(r"0|[1-9][0-9]{0,6}")

StageKey = NewType("StageKey", str)
"""What a stage's inputs, configuration and version come to: 64 hex digits."""
ModelDigest = NewType("ModelDigest", str)
"""What a model's weights and configuration come to: 64 hex digits."""


class Target(NamedTuple):
    """One split of a data set."""

    dataset: str
    split: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}"


class ImageName(NamedTuple):
    """The parts of an `image_id`."""

    dataset: str
    split: str
    key: str


class InstanceName(NamedTuple):
    """The parts of an `instance_id`."""

    image: ImageName
    person: int


def image_id(dataset: str, split: str, key: str) -> str:
    """`dataset/split/key`. Raises DataError for a part that can't be one."""
    for part, text in (("data set", dataset), ("split", split)):
        if not _NAME.fullmatch(text):
            raise DataError(
                f"{text!r} can't be the name of a {part}: use letters, digits, '_', '-' and '.', beginning with a "
                "letter or digit, at most 100 characters."
            )
    if not _KEY.fullmatch(key) or key.startswith("/") or key != key.strip():
        raise DataError(
            f"{key!r} can't name a picture in {dataset}/{split}: 1 to 500 characters, no '#', no control characters, "
            "no leading slash, no blanks at the ends. Rename the file."
        )
    return f"{dataset}/{split}/{key}"


def instance_id(image: str, person: int) -> str:
    """`image_id#person`, where `person` counts from 0 within the picture. Raises DataError for parts that can't be."""
    parse_image_id(image)
    if not 0 <= person < 10**7:
        raise DataError(f"Person {person} of {image}: persons count from 0 to 9999999.")
    return f"{image}#{person}"


def parse_image_id(text: str) -> ImageName:
    """The parts of an image_id. Raises DataError where it isn't one."""
    parts = text.split("/", 2)
    if len(parts) != 3:
        raise DataError(f"{text!r} is no image_id; one looks like dataset/split/key.")
    image_id(*parts)
    return ImageName(*parts)


def parse_instance_id(text: str) -> InstanceName:
    """The parts of an instance_id. Raises DataError where it isn't one."""
    image, mark, person = text.rpartition("#")
    if not mark or not _PERSON.fullmatch(person):
        raise DataError(f"{text!r} is no instance_id; one looks like dataset/split/key#0.")
    return InstanceName(parse_image_id(image), int(person))


def split_of(instance_id: str) -> Target:
    """The split that a person is of."""
    image = parse_instance_id(instance_id).image
    return Target(image.dataset, image.split)
