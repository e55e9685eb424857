"""Pictures as files: a folder that looks like a user's own, with a table of boxes and, where known, of labels.

    <folder>/images/00000042.jpg    the pictures
    <folder>/boxes.csv              path,x,y,w,h,person,focal_px,cx,cy   (pixels; `path` relative to images/)
    <folder>/labels.parquet         path, person and the columns of `LABEL_SCHEMA`, for labelled splits alone

Shards write pictures and hand back records; from all of them, the two tables are written once. Where the folder is,
on a disk or on S3, is the business of the `Write` that they get.
"""

import csv
import io
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError
from tasks.synthesize.domains import Domain
from tasks.synthesize.picture import make_picture
from tasks.synthesize.surroundings import encode

Write = Callable[[str, bytes], object]
"""Puts bytes into the file that is named below the folder: all of them or, when killed, none."""

BOX_COLUMNS = ("path", "x", "y", "w", "h", "person", "focal_px", "cx", "cy")
_KINDS = {"path": pa.string(), "person": pa.int32()}
_BOX_SCHEMA = pa.schema([(name, _KINDS.get(name, pa.float64())) for name in BOX_COLUMNS])


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


_LABELLED_SCHEMA = pa.schema([*_BOX_SCHEMA, *(field for field in LABEL_SCHEMA if field.name not in BOX_COLUMNS)])


def write_pictures(
    domain: Domain, split: str, indices: Iterable[int], seed: int, write: Write, body: str = "tiny"
) -> pa.Table:
    """Make and write the pictures `indices` of a split as images/<index>.jpg; one record each, in that order.

    A record has the columns of boxes.csv and, in splits with labels, those of labels.parquet. The same bytes whenever
    it is done, so a shard that was killed can simply be made again. Neighbouring indices are cheaper: their bodies are
    computed together.
    """
    records: list[dict[str, Any]] = []
    for index in indices:
        picture = make_picture(domain, split, index, seed, body)
        path, camera = f"{index:08d}.jpg", picture.intrinsics
        write(f"images/{path}", encode(picture.image))
        record = {"path": path, "person": 0, "focal_px": round(camera.fx, 3), "cx": camera.cx, "cy": camera.cy}
        record |= {name: round(float(value), 2) for name, value in zip("xywh", picture.box, strict=True)}
        label = vars(picture.label).items()
        records.append(record | {name: value if name == "gender" else value.reshape(-1) for name, value in label})
    return pa.Table.from_pylist(records, _LABELLED_SCHEMA if domain.labelled(split) else _BOX_SCHEMA)


def write_tables(records: pa.Table, write: Write) -> None:
    """Write boxes.csv, and labels.parquet if the records (of `write_pictures`) have labels, sorted by path and person.

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
    # last, because a folder with boxes counts as complete
    write("boxes.csv", text.getvalue().encode())
