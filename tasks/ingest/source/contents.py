"""What lies in a folder of pictures: those that are read, what is left out and why, a table of boxes among them."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

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
        types = [each for each in self.left_out if each.reason == UNREAD_TYPE]
        if types:
            sentences.append(
                f"{len(types)} {_plural(types, 'picture is of a type', 'pictures are of types')} not read here: "
                f"{_by_type(types)}. Convert them to JPEG or PNG."
            )
        for reason, one, many in (
            (LINKED_FOLDER, "linked folder is not followed", "linked folders are not followed"),
            (LOCKED_FOLDER, "folder can't be looked into", "folders can't be looked into"),
        ):
            alike = [each for each in self.left_out if each.reason == reason]
            if alike:
                first = "" if len(alike) == 1 else "; the first"
                sentences.append(f"{len(alike)} {_plural(alike, one, many)}{first}: {printable(alike[0].detail)}.")
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
    def ending(each: LeftOut) -> str:
        return posixpath.splitext(each.name)[1].lower()

    groups = [(kind, list(alike)) for kind, alike in groupby(sorted(pictures, key=ending), key=ending)]
    groups.sort(key=lambda group: -len(group[1]))
    return ", ".join(f"{len(alike)} {kind} ({printable(alike[0].name)})" for kind, alike in groups)


def _plural(alike: Sequence[LeftOut], one: str, many: str) -> str:
    return one if len(alike) == 1 else many
