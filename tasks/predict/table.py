"""Bodies as a Parquet table, with the columns that the engine reads bodies of any model by, and what they mean."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models.bodies import Body
from models.cameras import project
from schemas.tables import FLOAT_VECTOR, matrix
from tasks.predict.bodies import Bodies, Predicted


def _column(name: str, kind: pa.DataType, description: str, unit: str = "none", null: bool = False) -> pa.Field:
    return pa.field(name, kind, null, {"description": description, "unit": unit})


def _vector(name: str, length: int, description: str, unit: str) -> pa.Field:
    return _column(name, FLOAT_VECTOR, f"{description}; {length} numbers", unit)


COLUMNS: Final = pa.schema([
    _column("path", pa.string(), "the picture, relative to the folder of pictures"),
    _column("person", pa.int32(), "which person of the picture"),
    _column("x", pa.float64(), "left edge of the person's box", "px"),
    _column("y", pa.float64(), "its upper edge", "px"),
    _column("w", pa.float64(), "its width", "px"),
    _column("h", pa.float64(), "its height", "px"),
    _column("width_px", pa.int32(), "width of the upright picture", "px"),
    _column("height_px", pa.int32(), "its height", "px"),
    _column("fx", pa.float64(), "focal length of the picture's camera", "px"),
    _column("fy", pa.float64(), "as fx", "px"),
    _column("cx", pa.float64(), "its principal point", "px"),
    _column("cy", pa.float64(), "as cx", "px"),
    _column("intrinsics_source", pa.string(), "where the focal length came from: given, exif or diagonal"),
    _column("source", pa.string(), "which model the body is of"),
    _column("sample", pa.int32(), "which hypothesis of the policy; 0 is the one from zero noise"),
    _column("score", pa.float64(), "what the scorer says of it; higher is better; null: not scored", null=True),
    _column("preferred", pa.bool_(), "whether that is the highest of the person's scores; null as score", null=True),
    _column("body_model", pa.string(), "smpl: 24 joints in SMPL's order; the file's metadata names the body itself"),
    _column("gender", pa.string(), "of the body"),
    _vector("global_orient", 3, "root rotation in the camera frame, axis-angle", "rad"),
    _vector("body_pose", 69, "joints 1 to 23, axis-angle", "rad"),
    _vector("betas", 10, "shape coefficients", "standard deviations"),
    _vector("transl", 3, "translation of the body model in the camera frame: x right, y down, z forward", "m"),
    _vector("joints", 87, "29 joints (x, y, z) of the body in the camera frame, as the table labels has them", "m"),
    _vector("joints_px", 58, "the same (u, v) in the upright picture", "px"),
])  # fmt: skip


class BodyTable:
    """The file, to which bodies are added. Its metadata name policy, scorer, stages and body."""

    def __init__(self, file: Path, predicted: Predicted, body: Body) -> None:
        about = {
            "policy": predicted.policy,
            "scorer": predicted.scorer or "",
            "body": f"{body.name} {body.digest}",
            "instances": str(predicted.target),
            "ingest": predicted.ingest,
            "generation": predicted.generation,
            "scores": predicted.scores or "",
        }
        self._source = f"adhmr policy {predicted.policy[:12]}"
        named = {f"adhmr.{name}": text for name, text in about.items()}
        self._writer = pq.ParquetWriter(file, COLUMNS.with_metadata(named), compression="zstd")

    def __enter__(self) -> "BodyTable":
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def add(self, bodies: Bodies) -> None:
        """Write these bodies as rows."""
        camera = bodies.cameras.astype(np.float64)
        box = matrix(bodies.people, "box_xywh").astype(np.float64)
        joints = bodies.joints.astype(np.float64)
        pixels = project(torch.from_numpy(joints), torch.from_numpy(camera)).numpy()
        known = np.isfinite(bodies.scores)
        columns: dict[str, Any] = {
            "path": bodies.pictures,
            "person": bodies.people.column("person"),
            **{name: box[:, place] for place, name in enumerate("xywh")},
            **{name: bodies.people.column(name) for name in ("width_px", "height_px", "intrinsics_source")},
            **{name: camera[:, place] for place, name in enumerate(("fx", "fy", "cx", "cy"))},
            "source": [self._source] * len(bodies),
            "sample": bodies.samples,
            "score": pa.array(bodies.scores, mask=~known),
            "preferred": pa.array(bodies.preferred, mask=~known),
            "body_model": ["smpl"] * len(bodies),
            "gender": ["neutral"] * len(bodies),
            "global_orient": bodies.global_orient,
            "body_pose": bodies.body_pose,
            "betas": bodies.betas,
            "transl": bodies.transl,
            "joints": joints,
            "joints_px": pixels,
        }
        arrays = [_array(columns[column.name], column.type) for column in COLUMNS]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=COLUMNS))


def _array(values: Any, kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        flat = np.asarray(values, np.float32).reshape(len(values), -1)
        offsets = np.arange(len(flat) + 1, dtype=np.int32) * flat.shape[1]
        return pa.ListArray.from_arrays(offsets, flat.reshape(-1), type=kind)
    return values.cast(kind) if isinstance(values, pa.ChunkedArray | pa.Array) else pa.array(values, kind)
