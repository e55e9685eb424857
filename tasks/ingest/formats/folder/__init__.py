"""A folder of pictures, which `tasks.ingest.stage` reads."""

from tasks.ingest.formats.format import Format

FORMAT = Format(
    "folder",
    "a folder of pictures, with a table of boxes or without",
    "pictures",
    None,
    {
        "boxes": "table of the people: path, x, y, w, h (CSV, Parquet, JSON)",
        "labels": "Parquet table of their bodies",
    },
    rank=4,
)
