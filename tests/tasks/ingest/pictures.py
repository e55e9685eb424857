"""Small pictures, as files and as bytes, for the tests of ingest."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infra.store import Store
from schemas.progress import SilentProgress
from tasks.engine.context import Context
from tasks.ingest.formats.folder.reader import FolderReader
from tasks.ingest.people.annotations import AnnotationSource
from tests.profiles import load_profile


def noise(width: int = 60, height: int = 80, seed: int = 0) -> Image.Image:
    """A picture that doesn't compress to nothing."""
    values = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=90, **options)
    return buffer.getvalue()


def exif(**tags: int) -> bytes:
    """EXIF with an `orientation` and an `equivalent_mm` focal length."""
    made = Image.Exif()
    if "orientation" in tags:
        made[0x0112] = tags["orientation"]
    if "equivalent_mm" in tags:
        made.get_ifd(0x8769)[0xA405] = tags["equivalent_mm"]
    return made.tobytes()


def folder(root: Path, files: dict[str, bytes]) -> Path:
    """A folder `images` below `root` with these files."""
    for name, data in files.items():
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "images"


def pictures(
    images: Path | str,
    boxes: Path | str | None = None,
    labels: Path | str | None = None,
    dataset: str = "mine",
    split: str = "train",
    follow_links: Path | None = None,
) -> AnnotationSource:
    """A folder of pictures as ingest takes it."""
    options = {name: str(url) for name, url in (("boxes", boxes), ("labels", labels)) if url is not None}
    followed = None if follow_links is None else str(follow_links)
    return AnnotationSource("folder", str(images), dataset, split, options=options, follow_links=followed)


def source(
    root: Path, boxes: str | None = "boxes.csv", labels: str | None = None, split: str = "train"
) -> AnnotationSource:
    """The folder `images` below `root`, with tables that stand beside it."""
    tables = (root / name if name else None for name in (boxes, labels))
    return pictures(root / "images", *tables, split=split)


def rows_of(given: AnnotationSource) -> list[dict[str, Any]]:
    """The rows that the reader of a folder gives."""
    reader = FolderReader(given, Path(given.url))
    return [row for rows in reader.batches() for row in rows.to_pylist()]


def remarks_of(given: AnnotationSource) -> list[str]:
    """What the reader of a folder says of it."""
    return list(FolderReader(given, Path(given.url)).survey().remarks)


class Heard(SilentProgress):
    """Notes what a person would have been told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def context(store: Store | Path, heard: Heard | None = None, **changes: object) -> Context:
    """A context without Ray, whose gates let any number of failures pass."""
    opened = store if isinstance(store, Store) else Store.open(store)
    config = load_profile(
        "micro", changes={"gates.max_failed_share": 1.0, **{k.replace("__", "."): v for k, v in changes.items()}}
    )
    return Context(opened, config, heard or Heard(), in_process=True)
