"""What can be wrong with a labelled row: each check raises RefusedError with a reason that is counted.

The limits are generous: they catch wrong units, wrong cameras and broken files, and judge no poses.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config.stages import IngestConfig
from tasks.ingest.people.agreement import check_agreement, root_relative
from tasks.ingest.people.keypoints import OTHER_PLACE
from tasks.ingest.people.lengths import bone_lengths_human
from tasks.ingest.source.folder import RefusedError

LARGEST_TURN = 2 * math.pi + 0.01
"""Radians: no rotation needs a longer axis-angle."""
LARGEST_BETA = 20.0
NEAREST_M, FARTHEST_M = 0.1, 200.0
"""Depths of joints between which a camera sees a person."""
FITTED: Final = "points"
"""The source of a camera that was fitted to the very key-points."""
_FILLED = 0.53
"""Share of its box that a person fills in COCO."""
_NARROWEST = 3.0
"""Joints of a person in profile span next to no width, but flesh has some: at least this part of the height."""
_COMPARED = np.array([joint not in OTHER_PLACE for joint in range(29)])


def check_label(
    row: Mapping[str, Any],
    joints: NDArray[np.floating],
    posed: bool,
    pixels: NDArray[np.floating] | None,
    camera: tuple[tuple[float, float, float, float], str] | None,
    config: IngestConfig,
) -> NDArray[np.float64] | None:
    """All that a label is checked for: RefusedError, or its joints (29, 2) in the picture.

    joints: (29, 3) in metres, of the body that was `posed`, or as the file has them. pixels: (29, 2), NaN where
    unknown. camera: fx, fy, cx, cy, and where the focal length is from; without one nothing is projected.
    """
    if posed:
        check_parameters(row)
    check_joints(joints)
    if posed:
        check_agreement(row, joints, config)
    if camera is None or row["box"] is None:
        return None
    return check_projection(joints, pixels, tuple(row["box"]), *camera, config.max_reprojection)


def check_parameters(row: Mapping[str, Any]) -> None:
    """Pose and shape: "impossible pose", "impossible shape"."""
    for name in ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "jaw_pose"):
        if row[name] is not None:
            turns = np.linalg.norm(np.reshape(row[name], (-1, 3)), axis=1)
            if turns.max() > LARGEST_TURN:
                at = int(turns.argmax())
                raise RefusedError(
                    "impossible pose", f"{name}: rotation {at} is {turns[at]:.3g} rad long; are they degrees?"
                )
    if row["betas"] is not None and max(map(abs, row["betas"])) > LARGEST_BETA:
        raise RefusedError("impossible shape", f"betas reach {max(map(abs, row['betas'])):.3g}")


def check_joints(joints: NDArray[np.floating]) -> None:
    """Joints (29, 3) in metres, NaN where unknown: "bone lengths", "no depth", "impossible depth"."""
    if not bone_lengths_human(joints[None])[0]:
        raise RefusedError("bone lengths", "arms or legs as long as no person's: wrong units, or wrong joints")
    if root_relative(np.asarray(joints, np.float64)):
        raise RefusedError(
            "no depth", "the joints are relative to the root, and nothing says how far away the person is"
        )
    depths = joints[np.isfinite(joints[:, 2]), 2]
    if len(depths) and not NEAREST_M <= depths.min() <= depths.max() <= FARTHEST_M:
        raise RefusedError("impossible depth", f"joints are {depths.min():.3g} to {depths.max():.3g} m from the camera")


def seen_at(joints: NDArray[np.floating], intrinsics: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Joints (29, 3) in the picture (29, 2), pixels."""
    fx, fy, cx, cy = intrinsics
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(joints[:, :2] / joints[:, 2:] * (fx, fy) + (cx, cy))


class Reprojection(NamedTuple):
    """How far a label's joints lie from the file's key-points in the picture, pixels."""

    mean_px: float
    scale_px: float
    """The person's: the root of the area that it fills, as COCO measures people."""
    box_px: float
    """The longer side of the box."""


def reprojection(
    projected: NDArray[np.float64], pixels: NDArray[np.floating] | None, box: tuple[float, float, float, float]
) -> Reprojection | None:
    """What separates the label's joints (29, 2) from the file's key-points (29, 2; NaN where unknown), if there are
    any. Points whose names mean other places on a body don't count."""
    if pixels is None:
        return None
    off = np.linalg.norm(projected - pixels, axis=1)[_COMPARED]
    off = off[np.isfinite(off)]
    if not len(off):
        return None
    # a loose box says little of a person's size, one around half of one is too small: joints count, if all are known
    reach = np.ptp(projected, axis=0) if np.isfinite(projected).all() else np.array(box[2:])
    shorter, longer = np.sort(np.minimum(reach, 2 * np.array(box[2:])))
    area = _FILLED * max(shorter, longer / _NARROWEST) * longer
    return Reprojection(float(off.mean()), float(np.sqrt(area)), float(max(box[2:])))


def check_projection(
    joints: NDArray[np.floating],
    pixels: NDArray[np.floating] | None,
    box: tuple[float, float, float, float],
    intrinsics: tuple[float, float, float, float],
    focal_source: str,
    limit: float,
) -> NDArray[np.float64]:
    """The joints (29, 3) in the picture (29, 2); "reprojection error" if they are not where the file sees them, or
    "no focal length" if only the picture's diagonal was taken for one (`focal_source`; FITTED: to `pixels`).

    The mean distance to `pixels` (29, 2; NaN where unknown) may be `limit` of the person's scale. Without pixels, the
    middle of the joints must lie within the box made twice as large.
    """
    projected = seen_at(joints, intrinsics)
    distance = reprojection(projected, pixels, box)
    x, y, w, h = box
    middle = np.nanmean(projected, axis=0)
    if distance is not None and distance.mean_px > limit * distance.scale_px:
        what = (
            f"the label's joints lie {distance.mean_px:.1f} px from the file's key-points "
            f"({limit * distance.scale_px:.1f} are allowed), in a box of {w:.0f} x {h:.0f} px"
        )
    elif distance is None and not (np.abs(middle - (x + w / 2, y + h / 2)) <= (w, h)).all():
        what = (
            f"the label's joints lie around ({middle[0]:.0f}, {middle[1]:.0f}), far from the box x={x:.0f}, y={y:.0f}, "
            f"w={w:.0f}, h={h:.0f}"
        )
    else:
        return projected
    if focal_source == FITTED:
        raise RefusedError(
            "reprojection error", f"{what}, though the camera was fitted to them: another person, pose or frame?"
        )
    if focal_source != "diagonal":
        raise RefusedError("reprojection error", f"{what}: another camera?")
    raise RefusedError(
        "no focal length",
        f"the file gives no focal length and the picture none in its EXIF; the picture's diagonal ({intrinsics[0]:.0f} "
        f"px) was assumed, and with it {what}: write the focal lengths into the file",
    )
