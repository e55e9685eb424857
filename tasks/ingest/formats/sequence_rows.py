"""The people of a sequence that is one file, such as 3DPW's and EMDB's, as rows: one for each person and frame.

Bodies are SMPL's, in the frame of the world, and x_cam = R x + t with a camera for each frame. As for Human3.6M, a
body's root rotation is turned by R, and its translation stays as it is beside R and t (`extrinsics`).
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.skeleton import JOINTS, SMPL_JOINTS
from schemas.errors import DataError
from tasks.ingest.formats import json_rows
from tasks.ingest.formats.json_rows import MISSING, NOT_FINITE, UNREADABLE, placed, vector
from tasks.ingest.people.box_checks import check_box_points, extent
from tasks.ingest.people.keypoints import BY_BODY
from tasks.ingest.people.row_checks import NEAREST_M, seen_at
from tasks.ingest.source.column import column_of, shape_words
from tasks.ingest.source.folder import LEFT_OUT_FRAME, RefusedError

CROP_SCALE: Final = 1.25
NO_SEQUENCE: Final = "sequence not readable"
_AROUND_POINTS: Final = 1.2
"""Sides of a box over those of what is around a person's points: flesh reaches further."""
_SLOTS: Final = {joint: joint for joint in range(SMPL_JOINTS)}
_NOT_ORTHOGONAL: Final = 1e-3
Values = NDArray[np.float64]


class PerFrame:
    """Numbers of a shape for each frame, checked when they are asked for; `cut`: what is beyond the first is dropped.

    Raises DataError that begins with `where` for anything else, and for another number of frames.
    """

    def __init__(
        self, values: Any, frames: int, shape: tuple[int, ...], where: str, work: Path, cut: bool = False
    ) -> None:
        column = column_of(values, frames, where, work)
        count, wanted = int(np.prod(column.shape[1:])), int(np.prod(shape))
        if column.is_text or count < wanted or (count > wanted and not cut):
            what = "texts" if column.is_text else shape_words(column.shape[1:])
            raise DataError(f"{where}: {shape_words(shape)} a frame are expected, not {what}.")
        flat = column.rows(0, frames).astype(np.float64).reshape(frames, count)
        self.beyond = flat[:, wanted:]
        self._rows, self._unreadable, self._where = flat[:, :wanted].reshape(frames, *shape), column.unreadable, where

    def __getitem__(self, frame: int) -> Values:
        """A frame's numbers. RefusedError for what is not readable or not finite."""
        if frame in self._unreadable:
            raise RefusedError(UNREADABLE, f"{self._where}: {self._unreadable[frame]}")
        values: Values = self._rows[frame]
        with np.errstate(over="ignore"):
            if not np.isfinite(values.astype(np.float32)).all():
                raise RefusedError(NOT_FINITE, f"{self._where} holds numbers that are infinite or not a number")
        return values

    def part(self, numbers: slice) -> "PerFrame":
        """Some of the numbers of each frame, which are checked by themselves."""
        part = copy(self)
        part._rows = self._rows[:, numbers]
        return part


@dataclass(frozen=True)
class Track:
    """One person through the frames; metres in the frame of the world, and pixels."""

    person: int
    gender: Any
    """As the file has it."""
    betas: PerFrame
    root: PerFrame
    """(3,) axis-angle."""
    pose: PerFrame
    """(69,) axis-angles of the other joints."""
    transl: PerFrame
    counts: PerFrame
    """(1,) above 0: the file itself takes the frame for good."""
    joints: PerFrame | None = None
    """(24, 3) SMPL's joints."""
    pixels: PerFrame | None = None
    """(24, 2) SMPL's joints in the picture."""
    corners: PerFrame | None = None
    """(4,) x0, y0, x1, y1 of a box; without one, it is around the joints or what was detected."""
    detected: PerFrame | None = None
    """(3, K) x, y and confidence of points that somebody else has seen in the picture."""


@dataclass(frozen=True)
class Recording:
    """The people of one sequence, or why one of them can't be used."""

    frames: int
    picture: str
    """The pictures' path up to the number of the frame, which has five digits."""
    camera: Mapping[str, float] | RefusedError
    """fx, fy, cx, cy."""
    poses: PerFrame
    """(4, 4) from the world to the camera."""
    tracks: Sequence[Track | DataError]
    left_out: str
    """What says of a frame that it doesn't count."""
    size: tuple[int | None, int | None] = (None, None)
    """Width and height of the pictures."""

    def rows(self, name: str, numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
        """The rows of all people, frame after frame, each with one of the `numbers`; `name` is the file's."""
        for place, track in enumerate(self.tracks):
            if isinstance(track, DataError):
                yield refused_sequence(next(numbers), name, track, place)
                continue
            for frame in range(self.frames):
                row = json_rows.new_row(
                    next(numbers), f"{name}, person {track.person}, frame {frame}", "joints", CROP_SCALE
                )
                row |= {"counts_as": frame, "path": f"{self.picture}{frame:05d}.jpg", "person": track.person}
                with json_rows.refusal_in(row):
                    if not track.counts[frame][0] > 0:
                        raise RefusedError(LEFT_OUT_FRAME, f"{self.left_out} says so")
                    row |= self._label(track, frame)
                yield row

    def _label(self, track: Track, frame: int) -> dict[str, Any]:
        if isinstance(self.camera, RefusedError):
            raise self.camera
        turn, shift = _rigid(self.poses[frame])
        root = Rotation.from_matrix(turn) * Rotation.from_rotvec(track.root[frame])
        row: dict[str, Any] = {
            "width_px": self.size[0],
            "height_px": self.size[1],
            **self.camera,
            "label_kind": "gt",
            "body_model": "smpl",
            "gender": json_rows.gender(track.gender),
            "global_orient": vector(root.as_rotvec()),
            "body_pose": vector(track.pose[frame]),
            "betas": vector(track.betas[frame]),
            "transl": vector(track.transl[frame]),
            "extrinsics": vector(np.concatenate([turn.reshape(-1), shift])),
        }
        pixels = None if track.pixels is None else track.pixels[frame]
        if track.joints is not None:
            joints = track.joints[frame] @ turn.T + shift
            if joints[:, 2].min() < NEAREST_M:
                nearest = f"{joints[:, 2].min():.3g} m from the camera"
                raise RefusedError("impossible depth", f"a joint is {nearest}, or behind it")
            row |= {"joints": placed(joints, _SLOTS, JOINTS), "joints_by": BY_BODY}
            pixels = seen_at(joints, tuple(self.camera.values())) if pixels is None else pixels  # type: ignore[arg-type]
        if pixels is not None:
            row["pixels"] = placed(pixels, _SLOTS, JOINTS)
        detected = np.empty((0, 2)) if track.detected is None else _seen(track.detected[frame])
        row["box"] = self._box(track, frame, detected if pixels is None else pixels)
        check_box_points(np.array(row["box"]), detected, self.size)
        return row

    def _box(self, track: Track, frame: int, points: Values) -> list[float]:
        if track.corners is not None:
            return json_rows.box(track.corners[frame].tolist(), corners=True)
        x0, y0, x1, y1 = extent(points)
        if not np.isfinite(x0):
            raise RefusedError(MISSING, "there are neither joints nor detections that a box could be put around")
        w, h = _AROUND_POINTS * (x1 - x0), _AROUND_POINTS * (y1 - y0)
        return json_rows.box([(x0 + x1 - w) / 2, (y0 + y1 - h) / 2, w, h])


def refused_sequence(number: int, name: str, error: DataError, person: int | None = None) -> dict[str, Any]:
    """The row that stands for all frames of a file, or of a person in it, which can't be used."""
    origin = name if person is None else f"{name}, person {person}"
    row = json_rows.new_row(number, origin, "joints", CROP_SCALE)
    return row | {"path": name, "counts_as": 0, "reason": NO_SEQUENCE, "detail": str(error)}


def camera_of(matrix: Any) -> dict[str, float] | RefusedError:
    """fx, fy, cx, cy of a camera matrix (3, 3), or why it is none."""
    values = np.asarray(matrix, np.float64) if isinstance(matrix, np.ndarray) and matrix.dtype.kind in "iuf" else None
    if values is None or values.shape != (3, 3):
        return RefusedError("camera not usable", "the intrinsics are no matrix of 3 x 3 numbers")
    (fx, _, cx), (_, fy, cy), _ = values.tolist()
    return json_rows.or_refusal(json_rows.camera, [fx, fy], [cx, cy])


def _rigid(pose: Values) -> tuple[Values, Values]:
    """R (3, 3) and t (3,) of a matrix (4, 4). RefusedError where R is no rotation."""
    turn, shift = pose[:3, :3], pose[:3, 3]
    if not np.allclose(turn @ turn.T, np.eye(3), atol=_NOT_ORTHOGONAL) or np.linalg.det(turn) < 0:
        raise RefusedError("camera not usable", "the camera's pose has no rotation in its upper left corner")
    return turn, shift


def _seen(points: Values) -> Values:
    """x and y (K, 2) of what was detected with some confidence."""
    return points[:2, points[2] > 0].T
