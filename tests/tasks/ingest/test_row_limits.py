"""Checks of a labelled row: what they refuse, and what they let pass, at their limits."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from models.bodies import load_body
from schemas.config.stages import IngestConfig
from tasks.ingest.people.keypoints import OTHER_PLACE
from tasks.ingest.people.row_checks import (
    FARTHEST_M,
    NEAREST_M,
    check_joints,
    check_label,
    check_parameters,
    check_projection,
    reprojection,
)
from tasks.ingest.source.folder import RefusedError

CAMERA = (500.0, 500.0, 320.0, 240.0)
BOX = (220.0, 100.0, 200.0, 300.0)


@cache
def standing_joints() -> np.ndarray:
    """(29, 3) metres: the free body at rest, its pelvis near the origin."""
    joints: np.ndarray = load_body("tiny").rest_joints(torch.zeros(1, 10))[0].numpy().astype(np.float64)
    return joints


def projected(joints: np.ndarray) -> np.ndarray:
    fx, fy, cx, cy = CAMERA
    return np.stack([joints[:, 0] / joints[:, 2] * fx + cx, joints[:, 1] / joints[:, 2] * fy + cy], axis=1)


@pytest.mark.parametrize("depth_m", [NEAREST_M / 2, FARTHEST_M * 2])
def test_nobody_stands_so_near_or_so_far(depth_m: float) -> None:
    joints = standing_joints()
    with pytest.raises(RefusedError, match=r"m from the camera|nothing says how far away"):
        check_joints(joints - joints[0] + (0.0, 0.0, depth_m))
    check_joints(joints - joints[0] + (0.0, 0.0, 5.0))


def test_the_limits_themselves_are_within() -> None:
    joints = standing_joints()
    for side, depth_m in ((joints[:, 2].min(), NEAREST_M), (joints[:, 2].max(), FARTHEST_M)):
        placed = joints.copy()
        placed[:, 2] = joints[:, 2] - side + depth_m
        assert depth_m in placed[:, 2]
        check_joints(placed)


@pytest.mark.parametrize(("box", "camera"), [(None, (CAMERA, "given")), (BOX, None), (None, None)])
def test_without_a_box_or_a_camera_nothing_is_projected(box: object, camera: Any) -> None:
    joints = np.add(standing_joints(), (0.0, 0.0, 4.0))
    assert check_label({"box": box}, joints, False, None, camera, IngestConfig()) is None


def test_a_turn_is_at_most_a_whole_one() -> None:
    row = dict.fromkeys(("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "jaw_pose", "betas"))
    whole = 2 * math.pi
    check_parameters({**row, "global_orient": [0.0, whole, 0.0]})
    with pytest.raises(RefusedError, match=r"rotation 1 is 6\.38 rad long; are they degrees"):
        check_parameters({**row, "body_pose": [0.0, 0.0, 0.0, whole + 0.1, 0.0, 0.0]})


@pytest.mark.parametrize(
    ("box", "reach", "area"),
    [
        ((0.0, 0.0, 80.0, 300.0), (100.0, 290.0), 100.0 * 290.0),
        ((0.0, 0.0, 80.0, 100.0), (100.0, 290.0), 100.0 * 200.0),
        ((0.0, 0.0, 45.0, 100.0), (100.0, 290.0), 90.0 * 200.0),
        ((0.0, 0.0, 80.0, 300.0), (0.0, 270.0), 90.0 * 270.0),
        ((0.0, 0.0, 80.0, 300.0), (math.nan, 290.0), 100.0 * 300.0),
    ],
    ids=["as the joints", "half a height", "half a width", "in profile", "by the box where a joint is not known"],
)
def test_a_person_is_as_large_as_the_joints_but_at_most_twice_the_box(
    box: tuple[float, float, float, float], reach: tuple[float, float], area: float
) -> None:
    pixels = np.zeros((29, 2))
    pixels[1] = reach
    measured = reprojection(pixels, pixels, box)
    assert measured is not None
    assert (measured.mean_px, measured.box_px) == (0.0, max(box[2:]))
    assert measured.scale_px == pytest.approx(math.sqrt(0.53 * area))


def test_one_joint_beyond_the_farthest_depth_is_enough() -> None:
    joints = standing_joints()
    far = joints - joints[0] + (0.0, 0.0, FARTHEST_M - 0.01)
    assert far[:, 2].max() > FARTHEST_M > far[:, 2].min()
    with pytest.raises(RefusedError, match="m from the camera"):
        check_joints(far)


def test_points_that_mean_another_place_are_not_compared() -> None:
    """Jaw, thumbs and head by name lie elsewhere than the body's joints of the same columns."""
    joints = np.add(standing_joints(), (0.0, 0.0, 4.0))
    pixels = projected(joints)
    moved = pixels.copy()
    moved[list(OTHER_PLACE)] += 400.0
    np.testing.assert_allclose(check_projection(joints, moved, BOX, CAMERA, "given", limit=0.01), pixels)
    for joint in set(range(29)) - set(OTHER_PLACE):
        wrong = pixels.copy()
        wrong[joint] += 400.0
        with pytest.raises(RefusedError, match="from the file's key-points"):
            check_projection(joints, wrong, BOX, CAMERA, "given", limit=0.01)


def test_without_points_the_middle_may_lie_on_the_border_of_the_box_made_twice_as_large() -> None:
    x, y, w, h = BOX
    joints = np.tile(np.array([x + w / 2 + w - 320.0, y + h / 2 - 240.0, 500.0]) / (500.0, 500.0, 500.0), (29, 1))
    seen = check_projection(joints, None, BOX, CAMERA, "given", limit=0.01)
    np.testing.assert_array_equal(seen, np.tile([x + w / 2 + w, y + h / 2], (29, 1)))
    with pytest.raises(RefusedError, match="far from the box"):
        check_projection(np.add(joints, (0.01, 0.0, 0.0)), None, BOX, CAMERA, "given", limit=0.01)
