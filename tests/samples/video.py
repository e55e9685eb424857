"""Samples of videos: the pictures of synthetic people one after the other, with a table of their boxes."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import DataError
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.truth import TruePerson

RATE = 10
COLUMNS = ("frame", "person", "x", "y", "w", "h", "focal_px", "cx", "cy")


def write_video(
    people: Sequence[TruePerson],
    folder: Path,
    dataset: str = "sample",
    split: str = "train",
    every: int = 1,
    boxes: bool = True,
    name: str = "people.mp4",
) -> AnnotationSource:
    """The video `name`, one frame a person, and `boxes.csv`; without `boxes`, a source that has no table.

    Lossless (in another order of colours), so that frames can be compared with the pictures.
    Raises DataError where PyAV is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = max(person.height for person in people), max(person.width for person in people)
    write_frames(folder / name, [_frame(person, *size) for person in people])
    table = folder / "boxes.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for frame, person in enumerate(people):
            fx, _, cx, cy = person.intrinsics.tolist()
            writer.writerow([frame, 0, *person.box.tolist(), fx, cx, cy])
    options: dict[str, Any] = {"boxes": str(table)} if boxes else {}
    return AnnotationSource("video", str(folder / name), dataset, split, every=every, options=options)


def write_frames(file: Path, pictures: Sequence[NDArray[np.uint8]]) -> None:
    """A video of pictures (H, W, 3) of one size."""
    try:
        import av
    except ImportError as error:
        raise DataError('Videos need PyAV: pip install "adhmr-engine[video]"') from error
    height, width = pictures[0].shape[:2]
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264rgb", rate=RATE, options={"crf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _frame(person: TruePerson, height: int, width: int) -> NDArray[np.uint8]:
    """The person's picture in the upper left of a black frame: what is known in its pixels stays true."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: person.height, : person.width] = np.asarray(Image.open(io.BytesIO(person.jpeg)).convert("RGB"))
    return frame
