"""EMDB as it is published: a pickle for each sequence."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tasks.ingest.formats.emdb_pkl.reader import DEPTH, KEYS, NAME, SUFFIX, EmdbReader
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, FolderLook, Look, PickleLook
from tasks.ingest.formats.sequences import sequence_files

_SUBJECT: Final = re.compile(r"P\d+")


def recognise(look: Look) -> Iterator[Candidate]:
    """By the keys of a pickle; of a folder, by the first in it, or in P0, P1, ..."""
    if isinstance(look, PickleLook) and look.keys >= KEYS:
        yield look.candidate(NAME, "a sequence of EMDB's")
    elif isinstance(look, FolderLook):
        files = [f"{look.url}/{name}" for name in look.named(SUFFIX)]
        subjects = [f"{look.url}/{name}" for name in sorted(look.folders) if _SUBJECT.fullmatch(name)]
        subjects += [look.url] if _SUBJECT.fullmatch(look.name) else []
        if subjects and not files:
            files = sequence_files(subjects[0], SUFFIX, DEPTH - 1)
        for each in look.looker.at(files[0]).candidates if files else ():
            if each.format == NAME:
                yield replace(each, url=look.url, why=f"its first *{SUFFIX} is {each.why}")


FORMAT = Format(
    NAME,
    "EMDB's own sequence .pkl: a file, or the folder with P0, P1, ...",
    "people",
    EmdbReader,
    recognise,
    {"part": "1, 2 or all: which sequences count, by the paper's two sets"},
    documentation="EMDB's own `.pkl` of sequences: one, or the folder with `P0`, `P1`, ...",
    dataset="emdb",
    rank=2,
)
