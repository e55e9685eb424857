"""A video and its boxes by frame."""

from tasks.ingest.formats.format import Format
from tasks.ingest.formats.video.reader import NAME, VideoReader
from tasks.ingest.formats.video.recognition import recognise

FORMAT = Format(
    NAME,
    "a video, with a table of boxes by frame or without",
    "people",
    VideoReader,
    recognise,
    {
        "boxes": "table of the people: frame, x, y, w, h (CSV, Parquet, JSON)",
        "frames_as": "jpg or png",
        "max_pixels": "the most that a frame may have",
    },
    whole=("max_pixels",),
    places={"boxes": "table of boxes"},
    documentation="a video with a table of boxes by frame or without (install the extra `video`); frames are kept in "
    "the store, or in the local folder `--images`",
    makes_pictures=True,
    rank=5,
)
