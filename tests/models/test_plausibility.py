"""Plausibility: every pose of the prior can be, what no body does can't, and bones are as long as they are."""

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from models.bodies import load_body
from models.plausibility import LIMITS, beyond_limits, bone_miss
from models.skeleton import JOINT_NAMES, MIRROR_JOINTS, PARENTS, TWIST_CHILD
from tasks.synthesize.domains import domain_named
from tasks.synthesize.poses import BASE_POSES, HIGHEST, LOWEST, pose, rotations_from_angles, sample_angles

BODY = load_body("tiny")


def rest(count: int, spread: float = 0.0) -> Tensor:
    """The T-poses of bodies of different shapes."""
    return BODY.rest_joints(spread * torch.randn(count, 10, generator=torch.Generator().manual_seed(0)))


def turned(joint: str, *degrees: float) -> Tensor:
    """A T-pose but for one joint, which is turned about x, y or z: (1, 24, 3, 3)."""
    vectors = torch.zeros(1, 24, 3)
    vectors[0, JOINT_NAMES.index(joint)] = torch.deg2rad(torch.tensor(degrees))
    return roma.rotvec_to_rotmat(vectors)


def names(rotations: Tensor) -> list[str]:
    """The joints that are beyond their limits."""
    return [JOINT_NAMES[1 + row] for row in np.flatnonzero(beyond_limits(rotations, rest(1))[0].numpy())]


@pytest.mark.parametrize("domain", ["source", "scorer", "wild"])
def test_whatever_the_pose_prior_draws_can_be(domain: str) -> None:
    drawn, generator = domain_named(domain), np.random.default_rng(0)
    angles = np.stack([sample_angles(generator, drawn.poses, drawn.pose_noise) for _ in range(400)])
    rotations = torch.from_numpy(rotations_from_angles(angles).as_matrix()).float().view(-1, 24, 3, 3)
    assert not beyond_limits(rotations, rest(len(angles), 1.0)).any()


def test_poses_and_angles_at_their_ends_can_be() -> None:
    ends = [pose(), *BASE_POSES.values(), *np.diag(LOWEST), *np.diag(HIGHEST)]
    rotations = torch.from_numpy(rotations_from_angles(np.stack(ends)).as_matrix()).float().view(-1, 24, 3, 3)
    assert not beyond_limits(rotations, rest(len(ends))).any()


@pytest.mark.parametrize(
    ("joint", "bent", "too_far"),
    [
        ("left_knee", (140, 0, 0), (-40, 0, 0)),  # a shank in front of its thigh
        ("right_elbow", (0, 140, 0), (0, -50, 0)),
        ("left_elbow", (0, -140, 0), (0, 50, 0)),
        ("left_hip", (-120, 0, 0), (75, 0, 0)),  # a thigh behind the back
        ("right_hip", (0, 40, 0), (0, 120, 0)),
        ("neck", (0, 70, 0), (0, 95, 0)),
        ("spine2", (45, 0, 0), (75, 0, 0)),
        ("right_wrist", (0, 80, 0), (0, 120, 0)),
    ],
)
def test_a_joint_bends_so_far_and_no_further(joint: str, bent: tuple[int, ...], too_far: tuple[int, ...]) -> None:
    assert names(turned(joint, *bent)) == []
    assert names(turned(joint, *too_far)) == [joint]


@pytest.mark.parametrize("joint", JOINT_NAMES[1:24])
def test_swing_and_twist_are_told_apart(joint: str) -> None:
    limits, place = LIMITS[joint.split("_", 1)[-1]], JOINT_NAMES.index(joint)
    joints = rest(1)[0]
    bone = torch.nn.functional.normalize(joints[TWIST_CHILD[place]] - joints[place], dim=0)
    across = torch.tensor([0.0, 0.0, 1.0]) - bone[2] * bone  # about it no bone swings forwards or backwards
    for axis, limit in ((torch.nn.functional.normalize(across, dim=0), limits.swing), (bone, limits.twist)):
        assert names(turned(joint, *((limit - 1) * axis).tolist())) == []
        if limit < 180:
            assert names(turned(joint, *((limit + 1) * axis).tolist())) == [joint]


def test_left_and_right_are_alike_and_every_joint_has_limits() -> None:
    generator = torch.Generator().manual_seed(1)
    vectors = 0.7 * torch.randn(300, 24, 3, generator=generator)
    mirrored = vectors[:, list(MIRROR_JOINTS[:24])] * torch.tensor([1.0, -1.0, -1.0])
    symmetric = rest(1).clone()
    symmetric = (symmetric + symmetric[:, list(MIRROR_JOINTS)] * torch.tensor([-1.0, 1.0, 1.0])) / 2
    seen, other = (
        beyond_limits(roma.rotvec_to_rotmat(turns), symmetric.expand(300, -1, -1)) for turns in (vectors, mirrored)
    )
    assert torch.equal(other, seen[:, [joint - 1 for joint in MIRROR_JOINTS[1:24]]])
    assert 0.02 < seen.float().mean() < 0.5
    assert set(LIMITS) == {name.split("_", 1)[-1] for name in JOINT_NAMES[1:24]}


def test_bones_miss_what_they_are_too_long_or_too_short() -> None:
    joints = rest(3, 1.0)
    assert bone_miss(joints, joints).tolist() == [0, 0, 0]
    turn = roma.random_rotmat(1)
    torch.testing.assert_close(bone_miss(1.1 * joints @ turn[0] + 5, joints), torch.full((3,), 0.1), atol=1e-4, rtol=0)
    moved = joints.clone()
    moved[:, JOINT_NAMES.index("head_top"), 1] += 0.07  # one bone alone
    of_all = torch.linalg.vector_norm(joints[:, 1:] - joints[:, list(PARENTS[1:])], dim=-1).sum(-1)
    torch.testing.assert_close(bone_miss(moved, joints), 0.07 / of_all, atol=2e-3, rtol=0)
    assert (bone_miss(moved, joints) > 0.01).all()
