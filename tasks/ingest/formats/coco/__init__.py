"""COCO person json."""

from tasks.ingest.formats.coco.reader import CocoReader
from tasks.ingest.formats.coco.recognition import NAME, recognise
from tasks.ingest.formats.format import Format

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
