"""3DPW as it is published: a pickle for each sequence."""

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, FolderLook, Look, PickleLook
from tasks.ingest.formats.pw3d_pkl.reader import KEYS, NAME, Pw3dReader

_SPLITS: Final = ("train", "validation", "test")


def recognise(look: Look) -> Iterator[Candidate]:
    """By the keys of a pickle, in a folder of the first: they lie there together."""
    if isinstance(look, PickleLook) and look.keys >= KEYS:
        folder = posixpath.basename(posixpath.dirname(look.url))
        split = folder if folder in _SPLITS else None
        yield replace(look.candidate(NAME, "a sequence of 3DPW's"), split=split)
    elif isinstance(look, FolderLook) and (names := look.named(".pkl")):
        for each in look.looker.at(f"{look.url}/{names[0]}").candidates:
            if each.format == NAME:
                yield replace(each, url=look.url, why=f"{len(names)} pickles, the first of them {each.why}")


FORMAT = Format(
    NAME,
    "3DPW's own sequence .pkl: a file, or the folder of a split (sequenceFiles/test)",
    "people",
    Pw3dReader,
    recognise,
    {"joints": "compared (the posed body with the file's joints) or unused"},
    documentation="3DPW's own `.pkl` of sequences: one, or the folder of a split (`sequenceFiles/test`)",
    dataset="3dpw",
    rank=2,
)
