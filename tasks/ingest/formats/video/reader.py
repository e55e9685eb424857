"""A video file, with boxes by frame or none (format video): its frames become pictures in a folder.

Frames are numbered from 0 in the order in which they are shown. They are decoded with PyAV and written once as files,
each in one step; a frame that is there is not written again, so that a reading that was broken off goes on.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from schemas.errors import DataError
from tasks.ingest.formats.json_rows import UNREADABLE, in_batches, new_row, or_refusal, refusal_in
from tasks.ingest.formats.plain_values import shown
from tasks.ingest.formats.video.frames import Frames, VideoFile
from tasks.ingest.people.annotations import AnnotationSource, Survey
from tasks.ingest.people.box_tables import BoxTable
from tasks.ingest.people.boxes import parse_row, person_of, read_boxes
from tasks.ingest.source.files import local_file
from tasks.ingest.source.folder import RefusedError

NAME: Final = "video"
COLUMNS: Final = ("frame", "x", "y", "w", "h")
MAX_PIXELS: Final = 100_000_000
CROP_SCALE: Final = 1.25
_FRAMES_AS: Final = ("jpg", "png")
_MOST_MISSING: Final = 100_000
_MISSING, _DAMAGED = "frame missing", "frame damaged"


class VideoReader:
    """Reads a video.

    `source.images` is the local folder that frames are written to (default: `work`/images). It has to stay, because
    the tables will name the pictures in it. Options: `boxes`, a table (.csv, .parquet, .json) with the columns frame,
    x, y, w, h and, if known, person, focal_px, cx, cy, in pixels of the upright frame (None: each whole frame is one
    person's box); `frames_as`, jpg or png; `max_pixels` of a frame. Only frames that `source.every` counts are written.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        options, self._every = source.options, max(1, source.every)
        self._boxes_url: str | None = options.get("boxes")
        self._frames_as = options.get("frames_as", "jpg")
        if self._frames_as not in _FRAMES_AS:
            raise DataError(f"frames_as={shown(self._frames_as)}: frames are written as {' or '.join(_FRAMES_AS)}.")
        if source.images is not None and "://" in source.images:
            raise DataError(f"Frames of {source.url} can be written to a local folder only, not to {source.images}.")
        self._video = VideoFile(
            local_file(source.url, work, "video"), source.url, int(options.get("max_pixels") or MAX_PIXELS)
        )
        self._table: BoxTable | None = None if self._boxes_url is None else read_boxes(self._boxes_url, COLUMNS)
        self._images = Path(source.images) if source.images is not None else work / "images"
        self._frames = Frames(self._video, self._images, self._frames_as)

    def survey(self) -> Survey:
        """Reads the header of the video and the table of boxes; no frame is decoded."""
        video = self._video
        which = f"every {self._every}. frame" if self._every > 1 else "each frame"
        facts = {
            "video": f"{video.codec}, {video.width} x {video.height} px",
            "frames": f"{video.frames} by its header" if video.frames else "not counted by its header",
            "length": f"{video.seconds:.1f} s" if video.seconds else "unknown",
            "frames per second": f"{video.rate:.3g}" if video.rate else "unknown",
            "pictures": f"{which} as {self._frames_as}",
        }
        remarks = []
        if self._table is None:
            remarks.append(
                "NO BOXES were given, so each frame as a whole counts as the box of one person. Results are better "
                f"with a table of boxes: {','.join(COLUMNS)} in pixels, one row for each person (option boxes)."
            )
        elif self._table.ignored:
            remarks.append(f"Columns of {self._boxes_url} that mean nothing here: {', '.join(self._table.ignored)}.")
        rows = (video.frames or None) if self._table is None else len(self._table.rows)
        files = [self.source.url, *([self._boxes_url] if self._boxes_url else [])]
        return Survey(NAME, files, rows, str(self._images), facts, remarks)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Writes the frames that are not there yet, then yields all rows: of the table, or one for each frame.

        Rows of frames that the video doesn't have, or that can't be decoded, have a reason.
        """
        return in_batches(self._of_frames() if self._table is None else self._of_table(self._table))

    def _of_frames(self) -> Iterator[dict[str, Any]]:
        done = self._frames.write(lambda number: number % self._every == 0)
        promised = max(self._video.frames, done.count + (done.broken is not None))
        if promised - done.count > _MOST_MISSING:
            raise DataError(
                f"{self.source.url} says that it has {promised} frames, but {done.count} can be decoded. Copy it again."
            )
        name = self._video.name
        for number in range(promised):
            yield self._row(number, f"{name}: frame {number}", number, {})

    def _of_table(self, table: BoxTable) -> Iterator[dict[str, Any]]:
        frames = [or_refusal(_frame_of, row) for row in table.rows]
        wanted = {frame for frame in frames if isinstance(frame, int) and frame % self._every == 0}
        self._frames.write(wanted.__contains__, until=max(wanted, default=-1))
        name = str(self._boxes_url).rsplit("/", 1)[-1]
        for place, (values, frame) in enumerate(zip(table.rows, frames, strict=True)):
            yield self._row(place, f"{name}: row {place + 1}", frame, values)

    def _row(self, place: int, origin: str, frame: int | RefusedError, values: Mapping[str, Any]) -> dict[str, Any]:
        row = new_row(place, origin, "box", CROP_SCALE)
        with refusal_in(row):
            if isinstance(frame, RefusedError):
                raise frame
            row |= {"counts_as": frame, "path": self._frames.path(frame)}
            if self._table is not None:
                if "person" in self._table.columns:
                    row["person"] = person_of(values)
                parsed = parse_row(values)
                row |= {"box": list(parsed.box), "fx": parsed.focal_px, "cx": parsed.cx, "cy": parsed.cy}
            self._check_frame(frame)
        return row

    def _check_frame(self, number: int) -> None:
        if number % self._every:
            return
        done = self._frames.done
        if number >= done.count:
            count = f"{self._video.name} has {done.count} frames that can be decoded, numbered from 0"
            raise RefusedError(_MISSING, f"frame {number}: {count}" + (f" ({done.broken})" if done.broken else ""))
        if number in done.damaged:
            raise RefusedError(_DAMAGED, f"frame {number} of {self._video.name} could be decoded in part only")


def _frame_of(row: Mapping[str, Any]) -> int:
    value: Any = row.get("frame")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number != int(number) or not 0 <= number < 2**53:
        raise RefusedError(UNREADABLE, f"frame={shown(value)}: a whole number from 0 is expected")
    return int(number)
