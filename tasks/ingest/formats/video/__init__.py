"""A video and its boxes by frame."""

import posixpath
from collections.abc import Iterator
from typing import Final

from schemas.errors import DataError
from tasks.ingest.formats.format import Format
from tasks.ingest.formats.look import Candidate, FileLook, FolderLook, Look, TableLook
from tasks.ingest.formats.video.frames import VideoFile
from tasks.ingest.formats.video.reader import COLUMNS, MAX_PIXELS, NAME, VideoReader
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import printable

_ENDINGS: Final = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".flv"})


def recognise(look: Look) -> Iterator[Candidate]:
    """By opening it as a video."""
    if isinstance(look, FileLook):
        try:
            video = VideoFile(local_file(look.url, look.looker.work, "file"), look.url, MAX_PIXELS)
        except DataError:
            if _is_video(look.url):
                raise
        else:
            yield look.candidate(NAME, f"a video ({video.codec}, {video.width} x {video.height} px)")
    elif isinstance(look, TableLook) and look.meant >= {*COLUMNS} and not look.settled:
        look.say(f"{look.url} is {look.what} of boxes by frame: name its video, and this with --boxes.")
    elif isinstance(look, FolderLook):
        videos = sorted(filter(_is_video, look.names))
        if videos:
            look.say(f"{look.url} has {len(videos)} videos ({printable(videos[0])}): name one of them to ingest it.")


def _is_video(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in _ENDINGS


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
