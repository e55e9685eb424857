"""Capsules: distances against brute force, limbs in each other, and joints behind a body."""

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bodies import load_body
from models.measures.capsules import CAPSULES, PAIRS, behind_body, penetration_mm, segment_distance
from models.skeleton import JOINT_NAMES
from tasks.synthesize.domains import domain_named
from tasks.synthesize.people import person

BODY = load_body("tiny")
seeds = st.integers(0, 2**32 - 1)


def turned(**degrees: tuple[float, float, float]) -> np.ndarray:
    """(1, 29, 3) m: a T-pose but for the joints that are turned about x, y, z; y up, facing +z."""
    vectors = torch.zeros(1, 24, 3)
    for joint, angles in degrees.items():
        vectors[0, JOINT_NAMES.index(joint)] = torch.deg2rad(torch.tensor(angles))
    return BODY.joints(roma.rotvec_to_rotmat(vectors), torch.zeros(1, 10)).double().numpy()


@given(seeds, st.sampled_from(["apart", "parallel", "crossing", "points"]))
@settings(max_examples=60)
def test_the_distance_of_segments_is_the_least_of_their_points(seed: int, kind: str) -> None:
    a, b, c, d = np.random.default_rng(seed).standard_normal((4, 3))
    if kind == "parallel":
        d = c + 0.7 * (b - a)
    if kind == "crossing":
        c, d = (a + b) / 2 - (d - c), (a + b) / 2 + (d - c)
    if kind == "points":
        b, d = a, c
    grid = np.linspace(0, 1, 401)[:, None]
    one, other = a + grid * (b - a), c + grid * (d - c)
    least = np.linalg.norm(one[:, None] - other[None], axis=-1).min()
    found = segment_distance(a, b, c, d)
    assert found <= least + 1e-9
    assert found == pytest.approx(least, abs=0.02)
    assert segment_distance(d, c, b, a) == pytest.approx(found, abs=1e-9)


def test_limbs_that_belong_together_are_no_pair() -> None:
    named = [{JOINT_NAMES[a], JOINT_NAMES[b]} for a, b, _ in CAPSULES]
    pairs = [(named[one], named[other]) for one, other in PAIRS]
    thigh, shank, other = {"left_hip", "left_knee"}, {"left_knee", "left_ankle"}, {"right_knee", "right_ankle"}
    assert (thigh, shank) not in pairs
    assert (shank, other) in pairs
    assert ({"spine2", "neck"}, {"left_elbow", "left_wrist"}) in pairs


def test_a_body_that_stands_is_free_and_an_arm_through_the_chest_is_not() -> None:
    assert penetration_mm(turned()) == 0
    # the upper arm forwards, the forearm back into the chest
    through = turned(left_shoulder=(0.0, -90.0, 0.0), left_elbow=(0.0, -150.0, 0.0))
    assert penetration_mm(through) == 0 or penetration_mm(through) < 200
    wrist = JOINT_NAMES.index("left_wrist")
    into = turned()
    into[0, wrist] = (into[0, JOINT_NAMES.index("spine2")] + into[0, JOINT_NAMES.index("neck")]) / 2
    assert penetration_mm(into) == pytest.approx(1000 * (0.09 + 0.035), abs=1)


@given(seeds)
@settings(max_examples=10)
def test_neither_place_nor_turn_count(seed: int) -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    joints = np.random.default_rng(seed).standard_normal((2, 29, 3)) / 4
    np.testing.assert_allclose(penetration_mm(joints @ turn + 3), penetration_mm(joints), atol=1e-6)


def test_hardly_any_pose_of_the_prior_runs_into_itself() -> None:
    people = [person(domain_named("wild"), "test", index, 0) for index in range(64)]
    deep = penetration_mm(np.stack([one.label.joints for one in people]).astype(np.float64))
    assert np.median(deep) == 0
    assert (deep > 50).mean() < 0.2


def test_a_hand_behind_the_chest_is_hidden_and_one_before_it_is_not() -> None:
    """The camera is at the origin and looks along +z; the person faces it."""
    standing = turned() * np.array([1, -1, -1.0]) + np.array([0, 0, 4.0])
    assert not behind_body(standing).any()
    wrist, chest = JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("spine3")
    for step, is_hidden in ((0.4, True), (-0.4, False)):
        body = standing.copy()
        body[0, wrist] = body[0, chest] * (1 + step / 4)
        assert behind_body(body)[0, wrist] == is_hidden
        assert behind_body(body)[0, chest] == (not is_hidden)
