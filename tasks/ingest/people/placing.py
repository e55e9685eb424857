"""Where a labelled person is, and how long the lens was, where the file says neither: fitted to what is seen.

Pose, shape and turn of the root are the file's and stay, so errors that are relative to the root mean the same. What is
found is a translation, by the best that there is: 3D joints in the camera frame, key-points in the picture, or the box,
which the joints are to fill. `placed_by` of the table `labels` and `intrinsics_source` of `instances` say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.skeleton import SMPL_JOINTS
from tasks.ingest.people.agreement import HIPS_17, root_relative
from tasks.ingest.people.keypoints import OTHER_PLACE
from tasks.ingest.people.posed import Posed
from tasks.ingest.people.row_checks import FITTED, NEAREST_M, seen_at
from tasks.ingest.source.folder import RefusedError

JOINTS: Final = "joints"
BOX: Final = "box"
_FEWEST: Final = 4
"""Joints that have to be known on both sides: fewer may lie in a line."""
_STEPS: Final = 20
_SHORTEST, _LONGEST = 0.2, 20.0
"""Of focal lengths, over the picture's diagonal."""
_COMPARED: Final = np.array([joint not in OTHER_PLACE for joint in range(29)])
Camera = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels."""


@dataclass(frozen=True)
class Seen:
    """A labelled row with its place and its camera."""

    row: Mapping[str, Any]
    body: Posed | None
    joints: NDArray[np.floating]
    """(29, 3) in the camera frame: the body's, or the row's, NaN where it has none."""
    camera: tuple[Camera, str]
    """And where the focal length is from."""
    placed_by: str | None = None

    @property
    def fitted_to(self) -> str:
        """Where the camera is from, as the check of the projection takes it."""
        return FITTED if self.placed_by == FITTED else self.camera[1]


def seen(
    row: Mapping[str, Any], body: Posed | None, pixels: NDArray[np.floating] | None, camera: tuple[Camera, str]
) -> Seen:
    """A row (its box in pixels) with its body, if it has one, with key-points (29, 2), NaN where unknown, and the
    camera as far as it is known: what is missing is fitted if the row lets it be (`box_per_joints`).

    RefusedError "no depth" where nothing fits.
    """
    own = None if row["joints"] is None else np.reshape(row["joints"], (29, 3))
    joints = own if body is None else body.joints
    assert joints is not None
    found = Seen(row, body, joints, camera)
    if row.get("box_per_joints") is None:
        return found
    if body is not None and not body.placed:
        found = _moved(found, *_shift(found, own, pixels))
    elif body is None and _at_the_root(found):
        found = _moved(found, *_shift(found, None, pixels))
    elif camera[1] == "diagonal":
        found = replace(found, camera=_with_focal(found, pixels))
    return _with_seventeen(found)


def _seventeen(row: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """(17, 3) Human3.6M's joints of a row, if it has them."""
    return None if row["human36m"] is None else np.reshape(row["human36m"], (17, 3)).astype(np.float64)


def _at_the_root(found: Seen) -> bool:
    """Whether the joints of a row without a body are relative to the root."""
    seventeen = _seventeen(found.row)
    own = seventeen is not None and root_relative(seventeen, HIPS_17)
    return own or root_relative(np.asarray(found.joints, np.float64))


def _shift(
    found: Seen, own: NDArray[np.floating] | None, pixels: NDArray[np.floating] | None
) -> tuple[NDArray[np.float64], str]:
    """(3,) what brings the joints to their place, and by what that is known."""
    joints = np.asarray(found.joints, np.float64)
    if own is not None and not root_relative(np.asarray(own, np.float64)):
        shifts = (own - joints)[_COMPARED & np.isfinite(own).all(1)]
        if len(shifts) >= _FEWEST:
            return shifts.mean(0), JOINTS
    if pixels is not None:
        compared = _COMPARED & np.isfinite(pixels).all(1) & np.isfinite(joints).all(1)
        if compared.sum() >= _FEWEST:
            return _by_points(joints[compared], np.asarray(pixels, np.float64)[compared], found.camera[0]), FITTED
    return _by_box(joints[:SMPL_JOINTS], found), BOX


def _by_points(joints: NDArray[np.float64], pixels: NDArray[np.float64], camera: Camera) -> NDArray[np.float64]:
    """The shift (3,) of joints (n, 3) at which they are seen at pixels (n, 2).

    Pinhole's equations are linear in the shift once they are multiplied by the depth. Weights by the depths of the step
    before make them distances in pixels, and less of those that are far off: one wild key-point moves nobody.
    """
    focal, middle = np.array(camera[:2]), np.array(camera[2:])
    rays = (pixels - middle) / focal
    lines = np.zeros((len(joints), 2, 3))
    lines[:, 0, 0] = lines[:, 1, 1] = 1
    lines[:, :, 2] = -rays
    across = rays * joints[:, 2:] - joints[:, :2]
    weights = np.ones(len(joints))
    for _ in range(_STEPS):
        heavy = (weights[:, None] * focal)[..., None]
        shift = np.linalg.lstsq((heavy * lines).reshape(-1, 3), (heavy[..., 0] * across).reshape(-1), rcond=None)[0]
        depth = joints[:, 2] + shift[2]
        if depth.min() < NEAREST_M:
            raise RefusedError(
                "no depth",
                "the file doesn't say where the person is, and no place in front of the camera fits its key-points: "
                "another person, or a root rotation in another frame?",
            )
        off = np.linalg.norm(seen_at(joints + shift, camera) - pixels, axis=1)
        usual = max(float(np.median(off)), 1e-6)
        weights = np.sqrt(np.minimum(1, 2 * usual / np.maximum(off, 1e-12))) / depth
    return np.asarray(shift)


def _by_box(joints: NDArray[np.float64], found: Seen) -> NDArray[np.float64]:
    """The shift (3,) at which joints (n, 3; NaN where unknown) fill the row's box as `box_per_joints` says."""
    seventeen = _seventeen(found.row)
    if found.body is None and seventeen is not None:
        joints = np.concatenate([joints, seventeen])
    joints = joints[np.isfinite(joints).all(1)]
    x, y, w, h = found.row["box"]
    if len(joints) < _FEWEST:
        raise RefusedError("no depth", "the file doesn't say where the person is, and gives too few joints to fit")
    camera = found.camera[0]
    middle, focal = joints.mean(0), np.array(camera[:2])
    nearest = NEAREST_M - float((joints - middle)[:, 2].min())
    place = np.array([0.0, 0.0, 4.0])
    # Perspective makes size depend on place and place on size: each round settles more of both.
    for _ in range(_STEPS):
        points = seen_at(joints - middle + place, camera)
        low, high = points.min(0), points.max(0)
        place[2] = max(nearest, place[2] * float((high - low).max()) * found.row["box_per_joints"] / max(w, h))
        points = seen_at(joints - middle + place, camera)
        centre = (points.min(0) + points.max(0)) / 2
        place[:2] += (np.array([x + w / 2, y + h / 2]) - centre) * place[2] / focal
    return np.asarray(place - middle)


def _moved(found: Seen, shift: NDArray[np.float64], by: str) -> Seen:
    body, joints = found.body, found.joints + shift
    if body is None:
        seventeen = _seventeen(found.row)
        row = {**found.row, "joints": joints, "human36m": None if seventeen is None else seventeen + shift}
        return replace(found, row=row, joints=joints, placed_by=by)
    body = replace(
        body,
        joints=(body.joints + shift).astype(np.float32),
        transl=(body.transl + shift).astype(np.float32),
        placed=True,
    )
    return replace(found, body=body, joints=body.joints, placed_by=by)


def _with_seventeen(found: Seen) -> Seen:
    """Human3.6M's joints beside a body, where they are relative to the root: from the body's root on."""
    seventeen = _seventeen(found.row)
    if found.body is None or seventeen is None or not root_relative(seventeen, HIPS_17):
        return found
    return replace(found, row={**found.row, "human36m": seventeen + found.joints[0]})


def _with_focal(found: Seen, pixels: NDArray[np.floating] | None) -> tuple[Camera, str]:
    """The camera whose focal length brings the joints to the key-points; the one that is there, if none does."""
    if pixels is None:
        return found.camera
    diagonal, _, cx, cy = found.camera[0]
    joints = np.asarray(found.joints, np.float64)
    compared = _COMPARED & np.isfinite(pixels).all(1) & np.isfinite(joints).all(1)
    if compared.sum() < _FEWEST or joints[compared, 2].min() < NEAREST_M:
        return found.camera
    rays = joints[compared, :2] / joints[compared, 2:]
    reach = np.asarray(pixels, np.float64)[compared] - (cx, cy)
    steep = float((rays**2).sum())
    focal = float((rays * reach).sum()) / steep if steep > 0 else 0.0
    if not _SHORTEST * diagonal <= focal <= _LONGEST * diagonal:
        return found.camera
    return (focal, focal, cx, cy), FITTED
