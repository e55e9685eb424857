"""COCO person json."""

from tasks.ingest.formats.coco.reader import CocoReader
from tasks.ingest.formats.format import Format

FORMAT = Format(
    "coco",
    "COCO person json: boxes and key-points, no 3D",
    "people",
    CocoReader,
    {"category": "the category that people are in; by default person"},
    rank=3,
)
