"""What the checks of an ingest say of labelled rows before a picture is opened: for a look that takes nothing in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.cameras import default_focal_px
from schemas.config.stages import IngestConfig
from tasks.ingest.people.agreement import agreements, check_agreement
from tasks.ingest.people.placing import seen
from tasks.ingest.people.posed import Bodies, Posed
from tasks.ingest.people.row_checks import Reprojection, check_label, check_parameters, reprojection, seen_at
from tasks.ingest.source.folder import RefusedError

Row = dict[str, Any]


@dataclass
class Looked:
    """What was measured of rows, whether or not the limits let them pass."""

    refused: list[tuple[Row, RefusedError]] = field(default_factory=list)
    reprojections: list[Reprojection] = field(default_factory=list)
    errors_mm: dict[str, list[float]] = field(default_factory=dict)
    """Mean distances of posed joints from the file's, by what they are compared with."""


def look(rows: Sequence[Row], bodies: Bodies | None, config: IngestConfig) -> Looked:
    """The labelled ones among good rows of ANNOTATIONS. Without `bodies`, those with parameters are left out; a row
    whose camera is unknown before its picture is read is not projected."""
    looked = Looked()
    embodied = [row for row in rows if row["label_kind"] and row["body_model"]] if bodies else []
    posed = bodies.pose(embodied) if bodies else []
    plain = [row for row in rows if row["label_kind"] and not row["body_model"] and row["joints"] is not None]
    for row, body in (*zip(embodied, posed, strict=True), *((row, None) for row in plain)):
        _judge(row, body, config, looked)
    return looked


def _judge(row: Row, body: Posed | RefusedError | None, config: IngestConfig, looked: Looked) -> None:
    try:
        if isinstance(body, RefusedError):
            raise body
        pixels = None if row["pixels"] is None else np.reshape(row["pixels"], (29, 2))
        camera = _camera(row)
        if camera is None and row["box_per_joints"] is not None:
            _judge_anywhere(row, body, config, looked)
            return
        found: Row = row
        joints = np.reshape(row["joints"], (29, 3)) if body is None else body.joints
        if camera is not None and row["box"] is not None:
            placed = seen(row, body, pixels, camera)
            found, joints, camera = dict(placed.row), placed.joints, (placed.camera[0], placed.fitted_to)
            measured = reprojection(seen_at(joints, camera[0]), pixels, tuple(row["box"]))
            looked.reprojections += [measured] if measured and np.isfinite(measured.mean_px) else []
        if body is not None:
            for each in agreements(found, joints):
                looked.errors_mm.setdefault(each.what, []).append(each.mean_mm)
        check_label(found, joints, body is not None, pixels, camera, config)
    except RefusedError as refusal:
        looked.refused.append((row, refusal))


def _judge_anywhere(row: Row, body: Posed | None, config: IngestConfig, looked: Looked) -> None:
    """A row whose place, or focal length, is known only with its picture: what doesn't depend on it."""
    if body is None:
        return
    check_parameters(row)
    compared = list(agreements(row, body.joints))
    if body.placed or all(each.relative for each in compared):
        for each in compared:
            looked.errors_mm.setdefault(each.what, []).append(each.mean_mm)
        check_agreement(row, body.joints, config)


def _camera(row: Row) -> tuple[tuple[float, float, float, float], str] | None:
    """fx, fy, cx, cy and where the focal length is from, as far as the file says."""
    size = (row["width_px"], row["height_px"])
    if None in size and None in (row["fx"], row["cx"], row["cy"]):
        return None
    fx = default_focal_px(*size) if row["fx"] is None else row["fx"]
    cx = size[0] / 2 if row["cx"] is None else row["cx"]
    cy = size[1] / 2 if row["cy"] is None else row["cy"]
    return (fx, fx if row["fy"] is None else row["fy"], cx, cy), "diagonal" if row["fx"] is None else "given"
