"""The pose prior: anatomy in words, checked on the body."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.bodies import load_body
from models.skeleton import JOINT_NAMES, MIRROR_JOINTS
from tasks.synthesize.domains import domain_named
from tasks.synthesize.poses import BASE_POSES, HIGHEST, LOWEST, mirrored, pose, rotations_from_angles, sample_angles

AT = {name: joint for joint, name in enumerate(JOINT_NAMES)}


def joints_of(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(29, 3) metres in the body's own frame: x to the person's left, y up, z forward."""
    matrices = rotations_from_angles(angles[None]).as_matrix().reshape(1, 24, 3, 3)
    return load_body("tiny").joints(torch.tensor(matrices, dtype=torch.float32), torch.zeros(1, 10))[0].numpy()


@pytest.mark.parametrize("side", ["left", "right"])
def test_angles_mean_what_their_names_say(side: str) -> None:
    out = 1.0 if side == "left" else -1.0
    rest = joints_of(pose())
    hip, knee, ankle = (AT[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
    shoulder, elbow, wrist = (AT[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
    assert rest[wrist, 1] < rest[elbow, 1] < rest[shoulder, 1]  # without angles the arms hang
    assert joints_of(pose(hip_flexion=60))[knee, 2] > rest[hip, 2] + 0.2
    assert out * (joints_of(pose(hip_spread=30))[ankle, 0] - rest[ankle, 0]) > 0.2
    assert joints_of(pose(knee=60))[ankle, 2] < rest[ankle, 2] - 0.2
    assert joints_of(pose(ankle=20))[AT[f"{side}_big_toe"], 1] > rest[AT[f"{side}_big_toe"], 1] + 0.02
    assert joints_of(pose(arm_swing=90))[wrist, 2] > rest[shoulder, 2] + 0.3
    assert out * (joints_of(pose(arm_spread=90))[wrist, 0] - rest[shoulder, 0]) > 0.3
    assert joints_of(pose(elbow=90))[wrist, 2] > rest[elbow, 2] + 0.15
    across = joints_of(pose(elbow=90, arm_turn=60))
    assert out * (across[wrist, 0] - across[elbow, 0]) < -0.1  # an arm turned inwards crosses the body
    feet = joints_of(pose(hip_turn=30))
    assert out * (feet[AT[f"{side}_big_toe"], 0] - feet[ankle, 0]) < out * (
        rest[AT[f"{side}_big_toe"], 0] - rest[ankle, 0]
    )


def test_trunk_angles_go_forward_and_to_the_left() -> None:
    rest, head = joints_of(pose()), AT["head_top"]
    for name in ("pelvis_pitch", "spine_bend", "head_nod"):
        assert joints_of(pose(**{name: 30}))[head, 2] > rest[head, 2] + 0.03
    for name in ("pelvis_roll", "spine_side", "head_tilt"):
        assert joints_of(pose(**{name: 15}))[head, 0] > rest[head, 0] + 0.02
    turned = joints_of(pose(spine_turn=30))
    assert turned[AT["left_shoulder"], 2] < rest[AT["left_shoulder"], 2] - 0.03


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(["source", "scorer", "wild"]))
def test_samples_stay_within_limits_and_elbows_and_knees_bend_one_way(seed: int, name: str) -> None:
    domain = domain_named(name)
    angles = sample_angles(np.random.default_rng(seed), domain.poses, domain.pose_noise)
    assert (angles >= np.minimum(LOWEST, -HIGHEST)).all()
    assert (angles <= np.maximum(HIGHEST, -LOWEST)).all()
    turns = rotations_from_angles(angles[None]).as_rotvec().reshape(24, 3)
    assert (turns[[4, 5], 0] >= -1e-9).all()
    bent = rotations_from_angles(angles[None]).as_matrix().reshape(24, 3, 3)
    for elbow, outwards in ((18, 1.0), (19, -1.0)):  # the forearm goes forward of the upper arm, never back
        assert (bent[elbow] @ [outwards, 0, 0])[2] >= -1e-9
    assert np.degrees(np.linalg.norm(turns[[10, 11, 22, 23]], axis=-1)).max() <= 20 + 1e-6


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_mirrored_pose_is_the_mirror_image(seed: int) -> None:
    angles = sample_angles(np.random.default_rng(seed), dict.fromkeys(BASE_POSES, 1.0), 1.0)
    image = joints_of(angles)[list(MIRROR_JOINTS)] * np.array([-1, 1, 1])
    assert np.abs(joints_of(mirrored(angles)) - image).max() < 2e-3
    assert np.allclose(mirrored(mirrored(angles)), angles)


def test_both_mirror_images_of_a_pose_occur() -> None:
    generator = np.random.default_rng(0)
    lifted = [
        joints_of(sample_angles(generator, {"kick": 1.0}, 0.5))[[AT["left_ankle"], AT["right_ankle"]], 1]
        for _ in range(60)
    ]
    left = sum(bool(heights[0] > heights[1]) for heights in lifted)
    assert 15 < left < 45


def test_feet_of_a_squat_stay_below_the_body() -> None:
    joints = joints_of(BASE_POSES["squat"])
    feet, hips, head = joints[[10, 11], 2].mean(), joints[0, 2], joints[24, 2]
    assert hips < feet < head + 0.1
    assert joints[0, 1] - joints[[7, 8], 1].mean() < 0.55
