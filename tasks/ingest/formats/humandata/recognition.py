"""What tells HumanData: two members of an npz."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tasks.ingest.formats.humandata.reader import files_of
from tasks.ingest.formats.look import Candidate, Look, NpzLook, PatternLook

NAME: Final = "humandata"


def recognise(look: Look) -> Iterator[Candidate]:
    if isinstance(look, NpzLook) and {"image_path", "bbox_xywh"} <= set(look.npz.names):
        yield look.candidate(NAME, "an npz with image_path and bbox_xywh")
    elif isinstance(look, PatternLook):
        candidates = look.looker.at(files_of(look.url)[0])
        for each in candidates:
            if each.format == NAME:
                yield replace(each, url=look.url, why=f"its first file is {each.why}")
