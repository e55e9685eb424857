"""Small pictures, as files and as bytes, for the tests of ingest."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from infra.store import Store
from schemas.profiles import load_profile
from schemas.progress import SilentProgress
from tasks.engine.context import Context
from tasks.ingest.source.folder import FolderSource


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


def source(
    root: Path, boxes: str | None = "boxes.csv", labels: str | None = None, split: str = "train"
) -> FolderSource:
    """The folder below `root` as ingest takes it, with tables that stand beside images/."""
    return FolderSource(
        images=str(root / "images"),
        boxes=str(root / boxes) if boxes else None,
        labels=str(root / labels) if labels else None,
        dataset="mine",
        split=split,
    )


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
