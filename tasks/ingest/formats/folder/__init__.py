"""A folder of pictures, with tables of boxes and bodies or without."""

from tasks.ingest.formats.folder.reader import NAME, FolderReader
from tasks.ingest.formats.folder.recognition import recognise
from tasks.ingest.formats.format import Format

FORMAT = Format(
    NAME,
    "a folder of pictures, with a table of boxes, with what a detector wrote, or without",
    "pictures",
    FolderReader,
    recognise,
    {
        "boxes": "table of the people: path, x, y, w, h (CSV, Parquet, JSON); or what a detector wrote (COCO results, "
        "folder of YOLO's texts, MOT)",
        "least_score": "of a detector's boxes, those that count (0.5)",
        "person_class": "of a detector's boxes, the class of people (0 for YOLO, else 1)",
        "labels": "Parquet table of their bodies",
    },
    places={"boxes": "table of boxes", "labels": "table of labels"},
    by_content=("boxes", "labels"),
    rank=4,
    version=3,  # since a folder is done again as other formats are: what is new or changed
)
