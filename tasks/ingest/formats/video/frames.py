"""Frames of a video as files: decoded by PyAV, which is imported only when a video is read."""

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from PIL import Image

from schemas.errors import DataError
from schemas.regular_files import open_regular
from tasks.ingest.source.folder import printable
from tasks.ingest.source.signatures import HEAD, stranger, tar_in_words

JPEG_QUALITY: Final = 95
_ABOUT: Final = "video.json"
# Files that only name other files or addresses (playlists, say) count as videos for FFmpeg. They are not read here.
_CONTAINERS: Final = "mov,matroska,avi,mpegts,mpeg,flv,ogg,gif,asf,m4v,h264,hevc,mpegvideo,ivf,mxf,mjpeg,apng,nut"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class VideoFile:
    """A local video's header; errors call it `url`. Raises DataError for what is no video or has too large frames."""

    def __init__(self, path: Path, url: str, max_pixels: int) -> None:
        self.path, self.url, self.max_pixels = path, url, max_pixels
        self.name = printable(url.rstrip("/").rsplit("/", 1)[-1])
        self._check_kind()
        with self.opened() as (_, stream):
            self.width, self.height = int(stream.codec_context.width), int(stream.codec_context.height)
            self.codec = str(stream.codec_context.name)
            self.frames = max(0, int(stream.frames or 0))
            """How many there are by the header; 0 where it doesn't say."""
            self.rate = float(stream.average_rate or 0)
            self.seconds = float(stream.duration * stream.time_base if stream.duration and stream.time_base else 0)

    def _check_kind(self) -> None:
        """DataError for archives and the like: FFmpeg finds a video wherever pictures follow each other."""
        try:
            with open_regular(self.path) as file:
                other = stranger(file.read(HEAD))
                archive = tar_in_words(file, self.url) if other is not None and other.is_tar else None
        except OSError as error:
            raise DataError(f"{self.url} can't be read as a video: {error}") from error
        if other is not None:
            raise DataError(archive or f"{self.url} is {other}.")

    @contextmanager
    def opened(self) -> Iterator[tuple[Any, Any]]:
        """The container and its video stream. DataError for whatever PyAV raises meanwhile."""
        av = _pyav()
        allowed = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS, "max_pixels": str(self.max_pixels)}
        try:
            with av.open(str(self.path), options=allowed, metadata_errors="replace") as container:
                if not container.streams.video:
                    raise DataError(f"{self.url} has no pictures in it (no video stream).")
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise DataError(f"{self.url} is packed in a way that this installation of FFmpeg can't decode.")
                self._check_size(stream.codec_context.width, stream.codec_context.height)
                yield container, stream
        except (av.error.FFmpegError, OSError, ValueError, LookupError, OverflowError, MemoryError) as error:
            raise DataError(
                f"{self.url} can't be read as a video: {_reason(error)}. Copy it again, or write it anew: "
                "ffmpeg -i <video> -c:v libx264 <new>.mp4"
            ) from error

    def _check_size(self, width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise DataError(
                f"{self.url} can't be read as a video: the size of its frames is not known, or they have more than the "
                f"allowed {self.max_pixels} pixels."
            )
        if width * height > self.max_pixels:
            raise DataError(
                f"The frames of {self.url} have {width} x {height} pixels, more than the allowed {self.max_pixels}."
            )


@dataclass(frozen=True)
class Done:
    """The result of decoding."""

    count: int = 0
    """Frames that could be decoded, at least as far as was asked."""
    damaged: frozenset[int] = frozenset()
    """Those of them that the decoder could restore in part only."""
    broken: str | None = None
    """Why decoding ended before the video did; None: it did not."""
    complete: bool = False
    """The whole video was decoded."""


class Frames:
    """The frames of a video below the folder `images`. Those of an older file at the same place are removed."""

    def __init__(self, video: VideoFile, images: Path, ending: str) -> None:
        self.video, self.ending = video, ending
        self.subfolder = _UNSAFE.sub("-", video.name.rsplit(".", 1)[0]).strip(".-")[:100] or "video"
        self.folder = images / self.subfolder
        self.done = Done()

    def path(self, number: int) -> str:
        """A frame's picture, relative to the folder of pictures."""
        return f"{self.subfolder}/frame_{number:08d}.{self.ending}"

    def write(self, wanted: Callable[[int], bool], until: int | None = None) -> Done:
        """Write the frames whose numbers are `wanted`, up to the number `until`, where they are not there yet.

        Raises DataError where no frame can be decoded or a picture can't be written.
        """
        self.done = self._begin()
        if self.done.count and self._all_there(self.done, wanted, until):
            return self.done
        count, damaged, broken, complete = 0, set(self.done.damaged), None, False
        with self.video.opened() as (container, stream):
            try:
                for frame in container.decode(stream):
                    if frame.is_corrupt:
                        damaged.add(count)
                    if wanted(count):
                        self._write(frame, count)
                    count += 1
                    if until is not None and count > until:
                        break
                else:
                    complete = True
            except (_pyav().error.FFmpegError, EOFError) as error:
                if count == 0:
                    raise
                broken, complete = _reason(error), True
        if count == 0 and until != -1:
            raise DataError(f"{self.video.url} has no frame that can be decoded. Copy it again.")
        self.done = Done(count, frozenset(damaged), broken, complete)
        self._note(self.done)
        return self.done

    def _begin(self) -> Done:
        """The result of an earlier reading of the same file."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            about = json.loads((self.folder / _ABOUT).read_text()) if (self.folder / _ABOUT).exists() else {}
            if about.get("video") == self._identity():
                damaged = frozenset(map(int, about["damaged"]))
                return Done(int(about["count"]), damaged, about["broken"], bool(about["complete"]))
            if about and about["video"][0] != self.video.url:
                raise DataError(
                    f"{self.folder} holds frames of {about['video'][0]}, a video of the same name. Name another folder "
                    f"for the frames of {self.video.url}."
                )
            if not about and any(self.folder.glob("frame_*")):
                raise DataError(
                    f"{self.folder} holds frames that this engine did not write. Name another folder for the frames of "
                    f"{self.video.url} (--images), or remove them."
                )
            for old in self.folder.glob("frame_*"):
                old.unlink()
        except OSError as error:
            raise DataError(f"Frames can't be written to {self.folder}: {error}") from error
        except (ValueError, LookupError, TypeError, AttributeError):
            raise DataError(
                f"{self.folder / _ABOUT} was changed. Remove the folder {self.folder}, and try again."
            ) from None
        self._note(Done())
        return Done()

    def _all_there(self, before: Done, wanted: Callable[[int], bool], until: int | None) -> bool:
        if not before.complete and (until is None or before.count <= until):
            return False
        last = before.count if until is None else min(before.count, until + 1)
        present = {f"{self.subfolder}/{name}" for name in os.listdir(self.folder)}
        return all(self.path(number) in present for number in range(last) if wanted(number))

    def _write(self, frame: Any, number: int) -> None:
        file = self.folder.parent / self.path(number)
        if file.exists():
            return
        if frame.width * frame.height > self.video.max_pixels:
            raise DataError(f"Frame {number} of {self.video.url} has more than {self.video.max_pixels} pixels.")
        quarters = round((frame.rotation or 0) / 90)
        upright = np.rot90(frame.to_ndarray(format="rgb24"), quarters)
        options = {"quality": JPEG_QUALITY, "subsampling": 0} if self.ending == "jpg" else {"compress_level": 1}
        with _written_whole(file, f"Frame {number} of {self.video.url}") as temporary:
            picture = Image.fromarray(np.ascontiguousarray(upright))
            picture.save(temporary, format="JPEG" if self.ending == "jpg" else "PNG", **options)

    def _note(self, done: Done) -> None:
        about = {"video": self._identity(), **asdict(done), "damaged": sorted(done.damaged)}
        with _written_whole(self.folder / _ABOUT, "The list of frames") as temporary:
            temporary.write_text(json.dumps(about))
            os.sync()  # what says which frames are there must not outlive them when the power fails

    def _identity(self) -> list[Any]:
        about = self.video.path.stat()
        # a copy of a remote file is made anew each time, so that its time says nothing
        remote = "://" in self.video.url
        return [self.video.url, about.st_size, 0 if remote else about.st_mtime_ns, self.ending]


@contextmanager
def _written_whole(target: Path, what: str) -> Iterator[Path]:
    """A temporary path, which becomes the target once it is written. Raises DataError where that can't be."""
    temporary = target.with_name(f".{uuid.uuid4().hex}")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise DataError(f"{what} can't be written to {target}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _pyav() -> ModuleType:
    try:
        import av
        import av.error
    except ImportError as error:
        raise DataError(
            'Videos are read with PyAV, which is not installed. Install it with: pip install "adhmr-engine[video]"'
        ) from error
    module: ModuleType = av
    return module


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(" ".join(str(words).split()))
