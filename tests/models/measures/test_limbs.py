"""Measures of limbs: by hand, and what must not change them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.measures.limbs import (
    CLEAR_M,
    LIMBS,
    PARTS,
    depth_mode,
    depth_order,
    joint_errors_mm,
    over_joints,
    right_in_depth,
)
from models.skeleton import JOINT_NAMES, JOINTS, PARENTS

seeds = st.integers(0, 2**32 - 1)


def posed(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((*shape, JOINTS, 3))


def test_limbs_are_bones_and_parts_are_all_joints_but_the_pelvis() -> None:
    assert len(LIMBS) == 8
    assert all(PARENTS[far] == near for near, far in LIMBS)
    assert {JOINT_NAMES[far] for _, far in LIMBS} == {
        f"{side}_{name}" for side in ("left", "right") for name in ("knee", "ankle", "elbow", "wrist")
    }
    assert sorted(joint for part in PARTS.values() for joint in part) == list(range(1, JOINTS))


def test_the_order_in_depth_by_hand() -> None:
    truth = np.zeros((1, JOINTS, 3))
    thigh, forearm = LIMBS[0], LIMBS[-1]
    truth[0, thigh[1], 2] = CLEAR_M + 0.01  # the knee is further away
    truth[0, forearm[1], 2] = -CLEAR_M - 0.01
    samples = np.repeat(truth[:, None], 4, axis=1)
    samples[0, 0, thigh[1], 2] *= -1
    samples[0, 1, [thigh[1], forearm[1]], 2] *= -1
    samples[0, 2, forearm[1], 2] = -0.001  # by however little
    right = right_in_depth(samples, truth)
    assert right.shape == (1, 4, 8)
    # a shank that begins at the knee is clear, too, and right but where the knee is wrong
    assert np.isnan(right[0, 0]).sum() == 8 - 3
    np.testing.assert_array_equal(right[0, :, 0], [0, 0, 1, 1])
    np.testing.assert_array_equal(right[0, :, -1], [1, 0, 1, 1])
    assert depth_order(right) == (1 + 0 + 3 + 3) / 12
    assert depth_mode(right) == 0.5


def test_a_limb_that_lies_across_has_no_order() -> None:
    truth = np.zeros((2, JOINTS, 3))
    truth[:, LIMBS[0][1], 2] = [[CLEAR_M], [CLEAR_M + 1e-6]][0][0], CLEAR_M + 1e-6
    right = right_in_depth(truth[:, None], truth)
    assert np.isnan(depth_order(right))[0]
    assert np.isnan(depth_mode(right))[0]
    assert depth_order(right)[1] == depth_mode(right)[1] == 1


@given(seeds)
@settings(max_examples=20)
def test_a_body_flipped_in_depth_is_wrong_in_all_limbs_and_places_do_not_count(seed: int) -> None:
    truth, samples = posed(seed, 3), posed(seed + 1, 3, 5)
    flipped = truth * np.array([1, 1, -1.0])
    clear = ~np.isnan(depth_order(right_in_depth(truth[:, None], truth)))
    np.testing.assert_array_equal(depth_order(right_in_depth(truth[:, None], truth))[clear], 1)
    np.testing.assert_array_equal(depth_order(right_in_depth(flipped[:, None], truth))[clear], 0)
    right = right_in_depth(samples, truth)
    np.testing.assert_array_equal(right_in_depth(samples + 3.0, truth - 1.0), right)
    assert (depth_mode(right)[clear] <= depth_order(right)[clear]).all()


@given(seeds)
@settings(max_examples=20)
def test_errors_of_joints_are_relative_to_the_pelvis(seed: int) -> None:
    truth, samples = posed(seed, 2), posed(seed + 1, 2, 3)
    errors = joint_errors_mm(samples, truth)
    np.testing.assert_allclose(joint_errors_mm(samples + 1.5, truth - 2.0), errors, rtol=1e-9, atol=1e-9)
    assert (errors[..., 0] == 0).all()
    expected = 1000 * np.linalg.norm(samples[1, 2, 7] - samples[1, 2, 0] - truth[1, 7] + truth[1, 0])
    np.testing.assert_allclose(errors[1, 2, 7], expected)


def test_chosen_joints_alone_are_averaged_and_nobodys_are_nan() -> None:
    errors = np.arange(12.0).reshape(2, 2, 3)
    chosen = np.array([[True, False, True], [False, False, False]])
    np.testing.assert_array_equal(over_joints(errors, chosen), [[1, 4], [np.nan, np.nan]])
