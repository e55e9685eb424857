"""A video and its boxes by frame."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.video.reader import VideoReader

FORMAT = Format(
    "video",
    "a video, with a table of boxes by frame or without",
    "people",
    VideoReader,
    {
        "boxes": "table of the people: frame, x, y, w, h (CSV, Parquet, JSON)",
        "frames_as": "jpg or png",
        "max_pixels": "the most that a frame may have",
    },
    whole=("max_pixels",),
    rank=5,
)
