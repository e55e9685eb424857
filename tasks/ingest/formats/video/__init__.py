"""A video and its boxes by frame."""

from collections.abc import Iterator
from typing import Final

from schemas.errors import DataError
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, FileLook, FolderLook, Look, TableLook
from tasks.ingest.formats.video.frames import VideoFile
from tasks.ingest.formats.video.reader import COLUMNS, MAX_PIXELS, NAME, VideoReader
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import printable

_ENDINGS: Final = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".flv")


def recognise(look: Look) -> Iterator[Candidate]:
    """By opening it as a video."""
    if isinstance(look, FileLook):
        try:
            video = VideoFile(local_file(look.url, look.looker.work, "file"), look.url, MAX_PIXELS)
        except DataError:
            if look.url.lower().endswith(_ENDINGS):
                raise
        else:
            yield look.candidate(NAME, f"a video ({video.codec}, {video.width} x {video.height} px)")
    elif isinstance(look, TableLook) and look.meant >= {*COLUMNS} and not look.settled:
        look.say(f"{look.url} is {look.what} of boxes by frame: name its video, and this with --boxes.")
    elif isinstance(look, FolderLook):
        videos = sorted(name for name in look.names if name.lower().endswith(_ENDINGS))
        if videos:
            look.say(f"{look.url} has {len(videos)} videos ({printable(videos[0])}): name one of them to ingest it.")


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
