"""What can be wrong with a labelled row: each check raises RefusedError with a reason that is counted.

The limits are generous: they are there for wrong units, wrong cameras and broken files, not to judge poses.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.folder import RefusedError
from tasks.ingest.formats.keypoints import OTHER_PLACE
from tasks.ingest.lengths import bone_lengths_human

LARGEST_TURN = 2 * math.pi + 0.01
"""Radians: no rotation needs a longer axis-angle."""
LARGEST_BETA = 20.0
NEAREST_M, FARTHEST_M = 0.1, 200.0
"""Depths of joints between which a camera sees a person."""
_COMPARED = np.array([joint not in OTHER_PLACE for joint in range(29)])


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
    """Joints (29, 3) in metres, NaN where unknown: "bone lengths", "impossible depth"."""
    if not bone_lengths_human(joints[None])[0]:
        raise RefusedError("bone lengths", "arms or legs as long as no person's: wrong units, or wrong joints")
    depths = joints[np.isfinite(joints[:, 2]), 2]
    if len(depths) and not NEAREST_M <= depths.min() <= depths.max() <= FARTHEST_M:
        raise RefusedError("impossible depth", f"joints are {depths.min():.3g} to {depths.max():.3g} m from the camera")


def check_projection(
    joints: NDArray[np.floating],
    pixels: NDArray[np.floating] | None,
    box: tuple[float, float, float, float],
    intrinsics: tuple[float, float, float, float],
    limit: float,
) -> NDArray[np.float64]:
    """The joints (29, 3) in the picture (29, 2); "reprojection error" if they are not where the file sees them.

    The mean distance to `pixels` (29, 2; NaN where unknown) may be `limit` of the box's longer side. Points whose
    names mean other places on a body don't count. Without pixels, the middle of the joints must lie within the box
    made twice as large.
    """
    fx, fy, cx, cy = intrinsics
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = joints[:, :2] / joints[:, 2:] * (fx, fy) + (cx, cy)
    x, y, w, h = box
    if pixels is not None:
        off = np.linalg.norm(seen - pixels, axis=1)[_COMPARED]
        off = off[np.isfinite(off)]
        if len(off) and off.mean() > limit * max(w, h):
            raise RefusedError(
                "reprojection error",
                f"the label's joints lie {off.mean():.1f} px from the file's key-points, in a box of {w:.0f} x {h:.0f} "
                "px: another camera?",
            )
        if len(off):
            return seen
    middle = np.nanmean(seen, axis=0)
    if not (np.abs(middle - (x + w / 2, y + h / 2)) <= (w, h)).all():
        raise RefusedError(
            "reprojection error",
            f"the label's joints lie around ({middle[0]:.0f}, {middle[1]:.0f}), far from the box x={x:.0f}, y={y:.0f}, "
            f"w={w:.0f}, h={h:.0f}: another camera?",
        )
    return seen
