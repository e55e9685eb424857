"""A video file, with boxes by frame or none (format video): its frames become pictures in a folder.

Frames are numbered from 0 in the order in which they are shown. They are decoded with PyAV and written once as files,
each in one step; a frame that is there is not written again, so that a reading that was broken off goes on.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from schemas.errors import DataError
from tasks.ingest.formats.preferences import UNREADABLE, shown
from tasks.ingest.formats.video.frames import Frames, VideoFile
from tasks.ingest.people.annotations import ROWS_AT_ONCE, AnnotationSource, Survey, batch
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


@dataclass(frozen=True)
class _Row:
    """A row of the table of boxes, or a frame where there is no table."""

    frame: int | None
    values: dict[str, Any]


class VideoReader:
    """Reads a video.

    `source.images` is the local folder that frames are written to (default: `work`/images). It has to stay, because
    the tables will name the pictures in it. Options: `boxes`, a table (.csv, .parquet, .json) with the columns frame,
    x, y, w, h and, if known, person, focal_px, cx, cy, in pixels of the upright frame (None: each whole frame is one
    person's box); `frames_as`, jpg or png; `max_pixels` of a frame. Only frames that `source.every` counts are written.
    """

    def __init__(self, source: AnnotationSource, work: Path) -> None:
        self.source, self.work = source, work
        options = dict(source.options)
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
        video, every = self._video, max(1, self.source.every)
        seconds = f"{video.seconds:.1f} s" if video.seconds else "unknown"
        facts = {
            "video": f"{video.codec}, {video.width} x {video.height} px",
            "frames": f"{video.frames} by its header" if video.frames else "not counted by its header",
            "length": seconds,
            "frames per second": f"{video.rate:.3g}" if video.rate else "unknown",
            "pictures": f"every {every}. frame as {self._frames_as}"
            if every > 1
            else f"each frame as {self._frames_as}",
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
        """Writes the frames that are not there yet, then gives all rows: of the table, or one for each frame.

        Rows of frames that the video doesn't have, or that can't be decoded, have a reason.
        """
        rows = self._of_frames() if self._table is None else self._of_table(self._table)
        while part := list(itertools.islice(rows, ROWS_AT_ONCE)):
            yield batch(part)

    def _of_frames(self) -> Iterator[dict[str, Any]]:
        every = max(1, self.source.every)
        done = self._frames.write(lambda number: number % every == 0)
        promised = max(self._video.frames, done.count + (done.broken is not None))
        if promised - done.count > _MOST_MISSING:
            raise DataError(
                f"{self.source.url} says that it has {promised} frames, but {done.count} can be decoded. Copy it again."
            )
        name = self._video.name
        for number in range(promised):
            yield self._row(number, f"{name}: frame {number}", _Row(number, {}), None)

    def _of_table(self, table: BoxTable) -> Iterator[dict[str, Any]]:
        every = max(1, self.source.every)
        judged = [_frame_of(row) for row in table.rows]
        wanted = {number for number in judged if isinstance(number, int) and number % every == 0}
        self._frames.write(wanted.__contains__, until=max(wanted, default=-1))
        name = str(self._boxes_url).rsplit("/", 1)[-1]
        for place, (row, frame) in enumerate(zip(table.rows, judged, strict=True)):
            refusal = frame if isinstance(frame, RefusedError) else None
            number = frame if isinstance(frame, int) else None
            yield self._row(place, f"{name}: row {place + 1}", _Row(number, dict(row)), refusal)

    def _row(self, place: int, origin: str, row: _Row, refusal: RefusedError | None) -> dict[str, Any]:
        made: dict[str, Any] = {
            "row": place,
            # a row without a frame has to count as something: itself
            "counts_as": place if row.frame is None else row.frame,
            "origin": origin,
            "crop_rule": "box",
            "crop_scale": CROP_SCALE,
        }
        try:
            if refusal is not None:
                raise refusal
            assert row.frame is not None
            made["path"] = self._frames.path(row.frame)
            if row.values:
                if "person" in (self._table.columns if self._table else ()):
                    made["person"] = person_of(row.values)
                parsed = parse_row(row.values)
                made.update(box=list(parsed.box), fx=parsed.focal_px, cx=parsed.cx, cy=parsed.cy)
            self._check_frame(row.frame)
        except RefusedError as problem:
            made.update(reason=problem.reason, detail=problem.detail)
        return made

    def _check_frame(self, number: int) -> None:
        if number % max(1, self.source.every):
            return
        done = self._frames.done
        if number >= done.count:
            seen = f"{self._video.name} has {done.count} frames that can be decoded, numbered from 0"
            raise RefusedError(_MISSING, f"frame {number}: {seen}" + (f" ({done.broken})" if done.broken else ""))
        if number in done.damaged:
            raise RefusedError(_DAMAGED, f"frame {number} of {self._video.name} could be decoded in part only")


def _frame_of(row: Any) -> int | RefusedError:
    value = row.get("frame")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number != int(number) or not 0 <= number < 2**53:
        return RefusedError(UNREADABLE, f"frame={shown(value)}: a whole number from 0 is expected")
    return int(number)
