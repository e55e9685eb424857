"""Samples of bodies of any model: a row for each, around the labels of synthetic people, as all kinds of tables."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.truth import TruePerson, write_pictures

CROP_PX, FOCAL_PX = 256, 5000.0
"""Of the crops of weak-perspective cameras, as HMR2 has them."""
_NOISE_RAD, _NOISE_BETAS = 0.15, 0.5
Row = dict[str, Any]


def body_rows(person: TruePerson, hypotheses: int, seed: int = 0, body_model: str = "smpl") -> list[Row]:
    """The bodies of a person, number 0 the label and the others more and more unlike it, seen by the true camera."""
    random = np.random.Generator(np.random.Philox([seed, person.index]))
    label, growing = person.label, np.arange(hypotheses) / max(hypotheses - 1, 1)
    joints = 23 if body_model == "smpl" else 21
    fx, fy, cx, cy = person.intrinsics.tolist()
    rows = []
    for sample, amount in enumerate(growing):
        pose = np.asarray(label.body_pose, np.float64).reshape(23, 3)
        pose = pose + amount * _NOISE_RAD * random.standard_normal((23, 3))
        rows.append({
            "path": f"images/{person.index:06d}.jpg",
            "person": 0,
            "box": person.box.tolist(),
            "source": "sample",
            "sample": sample,
            "body_model": body_model,
            "gender": label.gender,
            "global_orient": np.asarray(label.global_orient, np.float64).tolist(),
            "body_pose": pose[:joints].reshape(-1).tolist(),
            "betas": (np.asarray(label.betas) + amount * _NOISE_BETAS * random.standard_normal(10)).tolist(),
            "transl": np.asarray(label.transl, np.float64).tolist(),
            "fx": fx,
            "fy": fy,
            "cx": cx,
            "cy": cy,
        })  # fmt: skip
    return rows


def with_matrices(row: Row) -> Row:
    """A row with rotation matrices, nested as networks put them out, and more betas than are taken."""
    turns = {name: np.reshape(row[name], (-1, 3)) for name in ("global_orient", "body_pose")}
    matrices = {name: Rotation.from_rotvec(turn).as_matrix().tolist() for name, turn in turns.items()}
    return {**row, **matrices, "betas": [*row["betas"], 0.25]}


def in_weak_perspective(row: Row, scale: float = 0.8) -> Row:
    """A row that the camera of its crop sees, as HMR2 has it: near where `row` has the body."""
    x, y, w, h = row["box"]
    size = 1.4 * max(w, h)
    plain = {name: value for name, value in row.items() if name not in ("transl", "fx", "fy", "cx", "cy")}
    crop = {"box_center": [x + w / 2, y + h / 2], "box_size": size, "focal_length": FOCAL_PX, "crop_px": CROP_PX}
    return {**plain, "s": scale, "tx": 0.01, "ty": 0.3, **crop}


def in_camera(row: Row) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Translation (3,) and camera (4,) fx, fy, cx, cy in the picture of a row of either kind."""
    if "transl" in row:
        return np.array(row["transl"]), np.array([row[name] for name in ("fx", "fy", "cx", "cy")])
    focal = row["focal_length"] * row["box_size"] / row["crop_px"]
    depth = 2 * focal / (row["box_size"] * row["s"])
    return np.array([row["tx"], row["ty"], depth]), np.array([focal, focal, *row["box_center"]])


def write_bodies(
    people: Sequence[TruePerson],
    folder: Path,
    *,
    hypotheses: int = 4,
    kind: str = "parquet",
    rows: Sequence[Row] | None = None,
    dataset: str = "bodies",
    split: str = "train",
    options: Mapping[str, Any] | None = None,
) -> AnnotationSource:
    """`bodies.parquet`, `.npz` or `.jsonl`, and pictures below `images/`; `rows` in place of the sample's, if given."""
    write_pictures(people, folder, [f"images/{person.index:06d}.jpg" for person in people])
    made = rows if rows is not None else [row for person in people for row in body_rows(person, hypotheses)]
    file = folder / f"bodies.{kind}"
    write_rows(file, made)
    return AnnotationSource("bodies", str(file), dataset, split, options=dict(options or {}))


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Rows as the kind of table that the file's name says."""
    match file.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist([*rows]), file)
        case ".npz":
            np.savez_compressed(file, **{name: _stacked([row.get(name) for row in rows]) for name in rows[0]})
        case _:
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _stacked(values: Sequence[Any]) -> Any:
    """Values of one shape as an array, others as one of objects."""
    try:
        return np.array(values)
    except ValueError:
        held = np.empty(len(values), object)
        held[:] = values
        return held
