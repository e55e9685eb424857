"""A user's own photographs, as the flows take them: a folder, and a table of boxes if there is one."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.folder.reader import NAME as FOLDER
from tasks.ingest.formats.registry import reader_of
from tasks.ingest.people.annotations import AnnotationSource

DATASET = "photographs"


def user_pictures(images: str | None, boxes: str | None) -> AnnotationSource | None:
    """The folder as ingest takes it; None without `images`.

    ConfigError for boxes alone, DataError for a folder or table that isn't there.
    """
    if images is None:
        if boxes is not None:
            raise ConfigError("boxes were given without images: name the folder of pictures that they belong to.")
        return None
    check_there("folder of pictures", images)
    check_there("table of boxes", boxes)
    options = {"boxes": place(boxes)} if boxes else {}
    return AnnotationSource(FOLDER, place(images), DATASET, "train", options=options)


def check_readable(source: AnnotationSource) -> None:
    """Raise what would end the ingest of a source as a whole."""
    with TemporaryDirectory(prefix="adhmr-look-") as work:
        reader_of(source, Path(work))


def place(text: str) -> str:
    """The same place whatever folder the run is started from."""
    return text if "://" in text else os.path.abspath(Path(text).expanduser())


def check_there(what: str, text: str | None) -> None:
    """DataError, which calls it `what`, for a path of this machine that leads nowhere."""
    if text is not None and "://" not in text and not Path(text).expanduser().exists():
        raise DataError(f"There is no {what} at {text}.")
