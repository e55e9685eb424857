"""COCO person json."""

from collections.abc import Iterator

from tasks.ingest.formats.coco.reader import NAME, CocoReader
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, JsonLook, Look


def recognise(look: Look) -> Iterator[Candidate]:
    """By boxes of images, in no form that is more particular."""
    if isinstance(look, JsonLook) and look.container and {"bbox", "image_id"} <= look.keys and not look.candidates:
        points = " and keypoints" if "keypoints" in look.keys else ""
        yield look.candidate(NAME, f"images, and annotations with bbox{points}")


FORMAT = Format(
    NAME,
    "COCO person json: boxes and key-points, no 3D",
    "people",
    CocoReader,
    recognise,
    {"category": "the category that people are in; by default person"},
    dataset="coco",
    rank=3,
)
