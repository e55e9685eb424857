"""Pictures as files: a folder that looks like a user's own, with a table of boxes and, where known, of labels.

    <folder>/images/00000042.jpg    the pictures
    <folder>/boxes.csv              path,x,y,w,h,person,focal_px,cx,cy   (pixels; `path` relative to images/)
    <folder>/labels.parquet         path, person and the columns of `LABEL_SCHEMA`, for labelled splits alone

Shards write pictures and hand back records; whoever has all records writes the two tables once. Where the folder is,
on a disk or on S3, is the business of the `Write` that they are given.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError
from tasks.synthesize.domains import Domain
from tasks.synthesize.picture import Label, make_picture
from tasks.synthesize.surroundings import encode

Write = Callable[[str, bytes], object]
"""Puts bytes into the file that is named below the folder: all of them or, when killed, none."""

BOX_COLUMNS = ("path", "x", "y", "w", "h", "person", "focal_px", "cx", "cy")
_KINDS = {"path": pa.string(), "person": pa.int32()}
_BOX_SCHEMA = pa.schema([pa.field(name, _KINDS.get(name, pa.float64()), False) for name in BOX_COLUMNS])


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
    domain: Domain, split: str, indices: Iterable[int], seed: int, write: Write, body: str = "tiny"
) -> list[Record]:
    """Make and write the pictures `indices` of a split as images/<index>.jpg; one record each, in that order.

    The same bytes whenever it is done, so a shard that was killed can simply be made again. Neighbouring indices are
    cheaper: their bodies are computed together.
    """
    records = []
    for index in indices:
        picture = make_picture(domain, split, index, seed, body)
        path = f"{index:08d}.jpg"
        write(f"images/{path}", encode(picture.image))
        x, y, w, h = (round(float(value), 2) for value in picture.box)
        camera = picture.intrinsics
        label = picture.label if domain.labelled(split) else None
        records.append(Record(path, (x, y, w, h), round(camera.fx, 3), camera.cx, camera.cy, label))
    return records


def records_table(records: Sequence[Record]) -> pa.Table:
    """The records as one table: the columns of boxes.csv and, if they have labels, those of labels.parquet.

    Raises:
        DataError: if only some of the records have labels.
    """
    columns = list(zip(*[_box_row(record) for record in records], strict=True)) or [()] * len(BOX_COLUMNS)
    boxes = pa.table(
        {field.name: pa.array(column, field.type) for field, column in zip(_BOX_SCHEMA, columns, strict=True)}
    )
    labels = [_label_row(record, record.label) for record in records if record.label is not None]
    if not labels:
        return boxes
    if len(labels) != len(records):
        raise DataError(f"Only {len(labels)} of {len(records)} pictures have labels; write splits apart.")
    of_labels = pa.Table.from_pylist(labels, LABEL_SCHEMA)
    for field in LABEL_SCHEMA:
        if field.name not in BOX_COLUMNS:
            boxes = boxes.append_column(field, of_labels.column(field.name))
    return boxes


def write_tables(records: pa.Table, write: Write) -> None:
    """Write boxes.csv, and labels.parquet if the records (a `records_table`) have labels, sorted by path and person.

    Raises:
        DataError: if a picture comes twice.
    """
    ordered = records.sort_by([("path", "ascending"), ("person", "ascending")])
    rows = list(zip(*(ordered.column(name).to_pylist() for name in BOX_COLUMNS), strict=True))
    place = BOX_COLUMNS.index("person")
    for before, after in pairwise(rows):
        if (before[0], before[place]) == (after[0], after[place]):
            raise DataError(f"Picture {after[0]} was made twice: the shards overlap.")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(BOX_COLUMNS)
    table.writerows(rows)
    if set(LABEL_SCHEMA.names) <= set(ordered.column_names):
        buffer = io.BytesIO()
        pq.write_table(ordered.select(LABEL_SCHEMA.names).cast(LABEL_SCHEMA).combine_chunks(), buffer)
        write("labels.parquet", buffer.getvalue())
    # last, because who finds the boxes takes the folder as complete
    write("boxes.csv", text.getvalue().encode())


def _box_row(record: Record) -> tuple[object, ...]:
    return (record.path, *record.box, record.person, record.focal_px, record.cx, record.cy)


def _label_row(record: Record, label: Label) -> dict[str, object]:
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
