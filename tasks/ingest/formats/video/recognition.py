"""How to recognise a video: it can be opened as one."""

import posixpath
from collections.abc import Iterator
from typing import Final

from schemas.errors import DataError
from tasks.ingest.formats.look import Candidate, FileLook, FolderLook, Look, TableLook
from tasks.ingest.formats.video.frames import VideoFile
from tasks.ingest.formats.video.reader import COLUMNS, MAX_PIXELS, NAME
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import printable

ENDINGS: Final = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".flv"})


def recognise(look: Look) -> Iterator[Candidate]:
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
    return posixpath.splitext(name)[1].lower() in ENDINGS
