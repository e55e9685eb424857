"""Inverse kinematics, twists and quaternions against the published layer, in both of its branches."""

import pytest
import torch
from torch import Tensor

from models.cameras import affine_intrinsics
from models.joint_sets import regress
from models.kinematics import solve_rotations, twist_from_rotations
from models.published_crops import invert_turned_affine, normalised_joints
from models.recovery import recover_body
from tests.parity.body import body, human36m_regressor
from tests.parity.people import COUNT, IK, INTRINSICS, people
from tests.parity.published import quaternions_from_rotations, rotations_from_quaternions, swing_and_twist
from tests.parity.rules import QUATERNIONS, assert_golden, golden, normal

ROTATIONS = 2e-4
METRES = 2e-4
BRANCHES = ["train", "eval"]


def _solve(joints: Tensor, rest: Tensor, twists: Tensor, branch: str) -> Tensor:
    if branch == "train":
        return solve_rotations(joints, rest, twists, root="published", rounded=True)
    return solve_rotations(joints, rest, twists, root="procrustes", adaptive=True, rounded=True)


def _same_turn(found: Tensor, name: str, atol: float = ROTATIONS) -> None:
    """Quaternions may come with either sign."""
    expected = torch.from_numpy(golden(IK)[name]).view_as(found)
    torch.testing.assert_close(found * (found * expected).sum(-1, keepdim=True).sign(), expected, atol=atol, rtol=0)


def test_twists_are_those_of_the_published_definition() -> None:
    who = people()
    found = twist_from_rotations(who.rotations, body().rest_joints(who.betas))
    assert_golden(found, IK, "twist.phi", atol=ROTATIONS)
    angle = torch.from_numpy(golden(IK)["twist.angle"])
    torch.testing.assert_close(found, torch.stack([angle.cos(), angle.sin()], -1), atol=ROTATIONS, rtol=0)


@pytest.mark.parametrize("branch", BRANCHES)
def test_exact_joints_and_twists_give_the_rotations_back(branch: str) -> None:
    who = people()
    solved = _solve(who.joints, body().rest_joints(who.betas), who.twists, branch)
    torch.testing.assert_close(solved, who.rotations, atol=ROTATIONS, rtol=0)


@pytest.mark.parametrize("branch", BRANCHES)
def test_disturbed_joints_give_the_published_rotations_and_meshes(branch: str) -> None:
    who = people()
    disturbed = who.joints + normal("ik.perturb", (COUNT, 29, 3), 0.03)
    solved = _solve(disturbed, body().rest_joints(who.betas), 1.7 * who.twists, branch)
    assert_golden(solved, IK, f"hybrik.{branch}.rot_mats", atol=ROTATIONS)
    posed = body()(solved, who.betas)
    assert_golden(posed.joints, IK, f"hybrik.{branch}.joints29", atol=METRES)
    assert_golden(posed.vertices, IK, f"hybrik.{branch}.vertices", atol=METRES)
    assert_golden(regress(human36m_regressor(), posed.vertices), IK, f"hybrik.{branch}.joints17", atol=METRES)


def test_rotations_fall_into_the_published_swings_and_twists() -> None:
    who = people()
    disturbed, rest = who.joints + normal("ik.perturb", (COUNT, 29, 3), 0.03), body().rest_joints(who.betas)
    swing, twist = swing_and_twist(solve_rotations(disturbed, rest, who.twists, rounded=True), rest)
    assert_golden(swing, IK, "decompose.swing", atol=ROTATIONS)
    assert_golden(twist, IK, "decompose.twist", atol=ROTATIONS)


def test_quaternions_are_the_published_ones_with_their_signs() -> None:
    rotations = torch.from_numpy(golden(IK)["quat.in_rotmat"])
    quaternions = quaternions_from_rotations(rotations)
    assert_golden(quaternions, IK, "quat.rotmat_to_quat", atol=QUATERNIONS)
    assert_golden(rotations_from_quaternions(quaternions), IK, "quat.back", atol=QUATERNIONS)
    _same_turn(quaternions_from_rotations(people().rotations), "fwd.theta_quat", QUATERNIONS)


@pytest.mark.parametrize("branch", BRANCHES)
def test_hypotheses_become_the_published_bodies(branch: str) -> None:
    """From crop pixels and mm to meshes: the published pipeline's last step."""
    stored = {
        name.rpartition(".")[2]: torch.from_numpy(value) for name, value in golden(IK).items() if "process" in name
    }
    betas, twists = stored["in_betas"], stored["in_twist"]
    crop = affine_intrinsics(INTRINSICS.expand(COUNT, 4), invert_turned_affine(stored["trans_inv"]))
    depth = stored["joint_root"][:, 2] / 1000
    uvd = normalised_joints(stored["in_uvd"])
    recovered = recover_body(body(), uvd, twists, betas, crop, 256, depth, root="published")
    relative = (recovered.camera_joints - recovered.camera_joints[:, :1]) * 2000
    if branch == "train":
        rotations, vertices = recovered.rotations, recovered.vertices
    else:
        # In millimetres, twice over, no joint lies within 15 mm of where it should: the adaptive branch adapts nothing.
        rotations = solve_rotations(relative, body().rest_joints(betas), twists, "procrustes", adaptive=True)
        vertices = body()(rotations, betas).vertices
    _same_turn(quaternions_from_rotations(rotations), f"process_output.{branch}.theta")
    joints = regress(human36m_regressor(), vertices)
    assert_golden(joints.flatten(1) / 2, IK, f"process_output.{branch}.pred_xyz_jts_17", atol=METRES)
    assert_golden(vertices - joints[:, :1], IK, f"process_output.{branch}.pred_vertices", atol=METRES)
    assert_golden(relative, IK, f"process_output.{branch}.pred_joints", atol=5e-3)
