"""Bodies as a Parquet table: the columns that exports and predictions write, and the format `bodies` reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from models.cameras import project
from schemas.tables import FLOAT_VECTOR, matrix


def _column(name: str, kind: pa.DataType, description: str, unit: str = "none", null: bool = False) -> pa.Field:
    return pa.field(name, kind, null, {"description": description, "unit": unit})


def _vector(name: str, length: int, description: str, unit: str, null: bool = False) -> pa.Field:
    return _column(name, FLOAT_VECTOR, f"{description}; {length} numbers", unit, null)


COLUMNS: Final = pa.schema([
    _column("path", pa.string(), "the picture, relative to the folder of pictures"),
    _column("person", pa.int32(), "which person of the picture"),
    _vector("box", 4, "the person's box: left, top, width, height", "px"),
    _column("width", pa.int32(), "of the upright picture", "px"),
    _column("height", pa.int32(), "of the upright picture", "px"),
    _column("fx", pa.float64(), "focal length of the picture's camera", "px"),
    _column("fy", pa.float64(), "as fx", "px"),
    _column("cx", pa.float64(), "its principal point", "px"),
    _column("cy", pa.float64(), "as cx", "px"),
    _column("intrinsics_source", pa.string(), "where the focal length came from: given, exif or diagonal"),
    _column("source", pa.string(), "which model, or set of labels, the body is of"),
    _column("sample", pa.int32(), "which of its bodies; of a policy 0 is the one from zero noise"),
    _column("score", pa.float64(), "what the scorer says of it; higher is better; null: not scored", null=True),
    _column("preferred", pa.bool_(), "whether that is the highest of the person's scores; null as score", null=True),
    _column("body_model", pa.string(), "smpl or smplx; the file's metadata name the body itself"),
    _column("gender", pa.string(), "of the body"),
    _vector("global_orient", 3, "root rotation in the camera frame, axis-angle", "rad"),
    _column("body_pose", FLOAT_VECTOR, "joints 1 to 23 (SMPL-X: to 21), axis-angle; 69 numbers (63)", "rad"),
    _vector("betas", 10, "shape coefficients", "standard deviations"),
    _vector("transl", 3, "translation of the body model in the camera frame: x right, y down, z forward", "m"),
    _vector("left_hand_pose", 45, "of SMPL-X: 15 finger joints, axis-angle, on the mean hand", "rad", null=True),
    _vector("right_hand_pose", 45, "as left_hand_pose", "rad", null=True),
    _vector("jaw_pose", 3, "of SMPL-X: jaw, axis-angle", "rad", null=True),
    _vector("expression", 10, "of SMPL-X: coefficients of the face", "standard deviations", null=True),
    _vector("joints", 87, "29 joints (x, y, z) of the body in the camera frame, as the table labels has them", "m"),
    _vector("joints_px", 58, "the same (u, v) in the upright picture", "px"),
])  # fmt: skip


PEOPLE_COLUMNS: Final = ("person", "box_xywh", "image_intrinsics", "intrinsics_source")
"""Columns of `instances` that a row needs, beside those of the picture: key, width_px and height_px."""


class BodyTable:
    """A file of bodies that grows. `about` goes into its metadata, under names that begin with `adhmr.`."""

    def __init__(self, file: Path, about: Mapping[str, str]) -> None:
        named = {f"adhmr.{name}": text for name, text in about.items()}
        self._writer = pq.ParquetWriter(file, COLUMNS.with_metadata(named), compression="zstd")

    def __enter__(self) -> "BodyTable":
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def add(self, people: pa.Table, joints: NDArray[np.float64], bodies: Mapping[str, Any]) -> None:
        """Write B rows. `people` has PEOPLE_COLUMNS and those of the picture; `joints` (B, 29, 3) are in metres in the
        camera frame, NaN where they are not known; `bodies` are the other columns, null if left out."""
        camera, box = (matrix(people, name).astype(np.float64) for name in ("image_intrinsics", "box_xywh"))
        pixels = project(torch.from_numpy(joints), torch.from_numpy(camera)).numpy()
        columns: dict[str, Any] = {
            "path": people.column("key"),
            "person": people.column("person"),
            "box": box,
            **{name: people.column(f"{name}_px") for name in ("width", "height")},
            "intrinsics_source": people.column("intrinsics_source"),
            **{name: camera[:, place] for place, name in enumerate(("fx", "fy", "cx", "cy"))},
            "joints": joints,
            "joints_px": pixels,
            **bodies,
        }
        arrays = [_array(columns.get(field.name), field.type, len(people)) for field in COLUMNS]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._writer.schema))


def _array(values: Any, kind: pa.DataType, count: int) -> Any:
    if values is None:
        return pa.nulls(count, kind)
    if isinstance(values, pa.ChunkedArray | pa.Array):
        return values.cast(kind)
    if isinstance(values, list) or not pa.types.is_list(kind):
        return pa.array(values, kind)
    flat = np.asarray(values, np.float32).reshape(count, -1)
    offsets = np.arange(count + 1, dtype=np.int32) * flat.shape[1]
    return pa.ListArray.from_arrays(offsets, flat.reshape(-1), type=kind)
