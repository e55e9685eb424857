"""A user's own photographs, as the flows take them: a folder, and a table of boxes if there is one."""

import os
from pathlib import Path
from typing import NamedTuple

from schemas.errors import ConfigError, DataError
from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_TEST
from tasks.ingest.source.folder import FolderSource

DATASET = "photographs"


LABELS_NOTICE = (
    "The pairs come from your pictures, which have no labels. All errors on this page were measured on the "
    f"engine's own held-out synthetic pictures ({WILD_TEST}, {SOURCE_TEST}): they say nothing certain about yours."
)


class UserPictures(NamedTuple):
    """The folder as ingest takes it, and the split that it becomes."""

    source: FolderSource
    target: Target


def user_pictures(images: str | None, boxes: str | None) -> UserPictures | None:
    """None without `images`. ConfigError for boxes alone, DataError for a folder or table that isn't there."""
    if images is None:
        if boxes is not None:
            raise ConfigError("boxes were given without images: name the folder of pictures that they belong to.")
        return None
    for what, place in (("folder of pictures", images), ("table of boxes", boxes)):
        if place is not None and "://" not in place and not Path(place).expanduser().exists():
            raise DataError(f"There is no {what} at {place}.")
    target = Target(DATASET, "train")
    return UserPictures(
        FolderSource(
            images=_place(images), boxes=_place(boxes) if boxes else None, labels=None, dataset=DATASET, split="train"
        ),
        target,
    )


def _place(text: str) -> str:
    """The same place whatever folder the run is started from."""
    if "://" in text:
        return text
    return os.path.abspath(Path(text).expanduser())
