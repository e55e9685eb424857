import numpy as np
import pytest

from models import skeleton
from schemas.errors import EngineError
from tests.maintenance import build_body


def test_every_bone_moves_with_the_joint_of_its_side() -> None:
    bones = ["root", "pelvis.L", "upperleg02.R", "finger1-2.L", "finger3-3.R", "jaw", "breast.R"]
    names = [skeleton.JOINT_NAMES[joint] for joint in build_body.bone_to_joint(bones)]
    assert names == ["pelvis", "pelvis", "right_hip", "left_wrist", "right_hand", "head", "spine3"]
    with pytest.raises(EngineError, match="tail05"):
        build_body.bone_to_joint(["root", "tail05"])


def test_the_t_pose_stretches_the_limbs_and_keeps_their_lengths() -> None:
    random = np.random.default_rng(0)
    rest = random.normal(size=(3, 24, 3))
    weights = np.eye(24)  # one vertex at each joint
    vertices, joints = build_body.t_pose(rest, rest, weights)
    np.testing.assert_allclose(vertices, joints, atol=1e-12)
    np.testing.assert_allclose(joints[:, 0], np.tile(build_body.PELVIS, (3, 1)))
    parents = list(skeleton.SMPL_PARENTS[1:])
    lengths = [np.linalg.norm(j[:, 1:] - j[:, parents], axis=-1) for j in (rest, joints)]
    np.testing.assert_allclose(*lengths)
    named = {name: joints[:, index] for index, name in enumerate(skeleton.JOINT_NAMES[:24])}
    for side, sign in (("left", 1), ("right", -1)):
        arm = named[f"{side}_hand"] - named[f"{side}_shoulder"]
        np.testing.assert_allclose(arm[:, 1:], 0, atol=1e-9)
        assert (arm[:, 0] * sign > 0).all()
        shin = named[f"{side}_ankle"] - named[f"{side}_knee"]
        assert (shin[:, 1] < 0).all()


def test_the_regressor_finds_the_joints_inside_a_cloud() -> None:
    random = np.random.default_rng(0)
    left = random.normal((3, 0, 0), 1, (400, 3))
    template = np.concatenate([left, left * [-1, 1, 1]])
    mirror = build_body.mirror_vertices(template)
    places = random.normal((3, 0, 0), 0.2, (24, 3))
    for joint, opposite in enumerate(skeleton.MIRROR_JOINTS[:24]):
        if opposite == joint:
            places[joint, 0] = 0
        elif opposite < joint:
            places[joint] = places[opposite] * [-1, 1, 1]
    scale = random.uniform(0.8, 1.2, (20, 1, 1))
    adults = build_body.Adults(template * scale, places * scale, np.eye(24)[:1], np.zeros((1, 3), int), {})
    regressor = build_body.fit_regressor(adults, mirror)
    assert regressor.min() >= 0
    np.testing.assert_allclose(regressor.sum(1), 1)
    middle = [joint for joint, opposite in enumerate(skeleton.MIRROR_JOINTS[:24]) if opposite == joint]
    sided = np.delete(np.arange(24), middle)
    np.testing.assert_allclose((regressor @ template)[sided], places[sided], atol=0.02)
    np.testing.assert_allclose((regressor @ template)[middle, 0], 0, atol=1e-9)


def test_a_lopsided_mesh_is_refused() -> None:
    with pytest.raises(EngineError, match="not left-right symmetric"):
        build_body.mirror_vertices(np.array([[1.0, 0, 0], [-1.1, 0, 0]]))


def test_only_the_largest_weights_are_kept() -> None:
    np.testing.assert_allclose(build_body.keep_largest(np.array([[0.1, 0.4, 0.2, 0.3]]), 2), [[0, 4 / 7, 0, 3 / 7]])
