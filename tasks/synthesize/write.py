"""Pictures as files: a folder that looks like a user's own, with a table of boxes and, where known, of labels.

    <folder>/images/00000042.jpg    the pictures
    <folder>/boxes.csv              path,x,y,w,h,person,focal_px,cx,cy   (pixels; `path` relative to images/)
    <folder>/labels.parquet         path, person and the columns of `LABEL_SCHEMA`, for labelled splits alone

Shards write pictures and hand back records; whoever has all records writes the two tables once.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError
from tasks.synthesize.domains import Domain
from tasks.synthesize.picture import Label, make_picture
from tasks.synthesize.surroundings import encode

BOX_COLUMNS = ("path", "x", "y", "w", "h", "person", "focal_px", "cx", "cy")


def _vector(name: str, length: int, unit: str, description: str) -> pa.Field:
    return pa.field(name, pa.list_(pa.float32(), length), False, {"unit": unit, "description": description})


LABEL_SCHEMA = pa.schema([
    pa.field("path", pa.string(), False, {"description": "file below images/"}),
    pa.field("person", pa.int32(), False, {"description": "which person of the picture, as in boxes.csv"}),
    _vector("global_orient", 3, "rad", "axis-angle of the root in the camera frame (x right, y down, z forward)"),
    _vector("body_pose", 69, "rad", "axis-angle of SMPL joints 1 to 23"),
    _vector("betas", 10, "1", "shape coefficients"),
    _vector("transl", 3, "m", "translation in the camera frame"),
    pa.field("gender", pa.string(), False, {"description": "which body model"}),
    _vector("joints", 87, "m", "29 joints, x y z each, camera frame"),
    _vector("twist", 46, "1", "cosine and sine of the 23 twists"),
])  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What the tables say of one picture."""

    path: str
    """File name below images/."""
    box: tuple[float, float, float, float]
    """x, y, w, h, pixels."""
    focal_px: float
    cx: float
    cy: float
    label: Label | None
    """None in splits without labels."""
    person: int = 0


def write_pictures(
    domain: Domain, split: str, indices: Iterable[int], seed: int, folder: Path, body: str = "tiny"
) -> list[Record]:
    """Make and write the pictures `indices` of a split below `folder`/images; one record each, in that order.

    Each file is renamed into place, so a shard that was killed can simply be made again. Neighbouring indices are
    cheaper: their bodies are computed together.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    records = []
    for index in indices:
        picture = make_picture(domain, split, index, seed, body)
        path = f"{index:08d}.jpg"
        unfinished = images / f".{path}.{os.getpid()}"
        unfinished.write_bytes(encode(picture.image))
        unfinished.replace(images / path)
        x, y, w, h = (round(float(value), 2) for value in picture.box)
        camera = picture.intrinsics
        label = picture.label if domain.labelled(split) else None
        records.append(Record(path, (x, y, w, h), round(camera.fx, 3), camera.cx, camera.cy, label))
    return records


def write_tables(records: Sequence[Record], folder: Path) -> None:
    """Write `folder`/boxes.csv, and labels.parquet if the records have labels, sorted by path.

    Raises:
        DataError: if a picture comes twice, or only some of the records have labels.
    """
    ordered = sorted(records, key=lambda record: (record.path, record.person))
    for before, after in pairwise(ordered):
        if (before.path, before.person) == (after.path, after.person):
            raise DataError(f"Picture {after.path} was made twice: the shards for {folder} overlap.")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(BOX_COLUMNS)
    for record in ordered:
        table.writerow([record.path, *record.box, record.person, record.focal_px, record.cx, record.cy])
    _replace(folder / "boxes.csv", text.getvalue().encode())
    labelled = [(record, record.label) for record in ordered if record.label is not None]
    if labelled:
        if len(labelled) != len(ordered):
            raise DataError(
                f"Only {len(labelled)} of {len(ordered)} pictures for {folder} have labels; write splits apart."
            )
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([_row(*pair) for pair in labelled], LABEL_SCHEMA), buffer)
        _replace(folder / "labels.parquet", buffer.getvalue())


def _row(record: Record, label: Label) -> dict[str, object]:
    return {
        "path": record.path,
        "person": record.person,
        "global_orient": label.global_orient,
        "body_pose": label.body_pose,
        "betas": label.betas,
        "transl": label.transl,
        "gender": label.gender,
        "joints": label.joints.reshape(-1),
        "twist": label.twist.reshape(-1),
    }


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
