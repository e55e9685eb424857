"""What lies in a folder of pictures: those that are read, what is left out and why, a table of boxes among them."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import DataError
from tasks.ingest.source.folder import (
    LINKED_FOLDER,
    LOCKED_FOLDER,
    UNREAD_TYPE,
    Folder,
    LeftOut,
    is_other_picture,
    is_picture,
    printable,
)

_TABLE = re.compile(r"boxes\.(csv|parquet|json|csv\.gz|json\.gz)", re.IGNORECASE)


@dataclass(frozen=True)
class Contents:
    """The names of the pictures, and what else is there, both sorted."""

    pictures: tuple[str, ...]
    left_out: tuple[LeftOut, ...]

    def in_words(self) -> list[str]:
        """What is left out, a sentence for each reason, with numbers and first examples."""
        sentences = []
        for reason, one, many in (
            (UNREAD_TYPE, "picture is of a type not read here", "pictures are of types not read here"),
            (LINKED_FOLDER, "linked folder is not followed", "linked folders are not followed"),
            (LOCKED_FOLDER, "folder can't be looked into", "folders can't be looked into"),
        ):
            alike = [left_out for left_out in self.left_out if left_out.reason == reason]
            if alike:
                what = f"{len(alike)} {one if len(alike) == 1 else many}"
                first = "" if len(alike) == 1 else "; the first"
                sentences.append(
                    f"{what}: {_by_type(alike)}. Convert them to JPEG or PNG."
                    if reason == UNREAD_TYPE
                    else f"{what}{first}: {printable(alike[0].detail)}."
                )
        return sentences


def contents_of(folder: Folder) -> Contents:
    """Lists a folder. Raises DataError where it can't be."""
    pictures: list[str] = []
    left_out: list[LeftOut] = []
    for name, _ in folder.files(left_out.append):
        if is_picture(name):
            pictures.append(name)
        elif is_other_picture(name):
            left_out.append(LeftOut(name, UNREAD_TYPE, f"{name}: convert it to JPEG or PNG"))
    return Contents(tuple(sorted(pictures)), tuple(sorted(left_out, key=lambda each: each.name)))


def table_within(folder: Folder) -> str | None:
    """The table of boxes that lies in a folder (boxes.csv, .parquet, .json). DataError where there are several."""
    names = (posixpath.basename(str(path).rstrip("/")) for path in folder.fs.ls(folder.base, detail=False))
    tables = sorted(name for name in names if _TABLE.fullmatch(name))
    if len(tables) > 1:
        raise DataError(f"{folder.url} has several tables of boxes ({', '.join(tables)}): say which with --boxes.")
    return f"{folder.url.rstrip('/')}/{tables[0]}" if tables else None


def _by_type(pictures: Sequence[LeftOut]) -> str:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        names[posixpath.splitext(picture.name)[1].lower()].append(picture.name)
    kinds = sorted(names, key=lambda kind: (-len(names[kind]), kind))
    return ", ".join(f"{len(names[kind])} {kind} ({printable(names[kind][0])})" for kind in kinds)
