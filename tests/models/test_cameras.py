import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import cameras
from models.bodies import load_body
from models.kinematics import solve_rotations, twist_from_rotations
from models.published_crops import invert_turned_affine
from tests.models.poses import random_people
from tests.parity.published import mirror_rotations

SIZE = 64
places = st.floats(-3000, 3000, width=32)
lengths = st.floats(4, 3000, width=32)


def people_before_a_camera(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Camera joints (B, 29, 3), crop intrinsics (B, 4), betas (B, 10): people 2 to 12 m away in tight crops."""
    rotations, betas = random_people(count, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    depth = 2 + 10 * torch.rand(count, generator=generator)
    sideways = (torch.rand(count, 2, generator=generator) - 0.5) * depth[:, None] * 0.5
    joints = load_body("tiny").joints(rotations, betas, torch.cat([sideways, depth[:, None]], 1))
    picture = torch.tensor([800.0, 800.0, 320.0, 240.0]).expand(count, 4)
    pixels = cameras.project(joints, picture)
    low, high = pixels.amin(1), pixels.amax(1)
    affine = cameras.crop_affine(cameras.square_box(torch.cat([low, high - low], 1)), SIZE)
    return joints, cameras.affine_intrinsics(picture, affine), betas


@given(places, places, lengths, lengths)
@settings(max_examples=100, deadline=None)
def test_the_crop_is_a_square_around_the_box(x: float, y: float, w: float, h: float) -> None:
    box = torch.tensor([[x, y, w, h]], dtype=torch.float64)
    square = cameras.square_box(box)
    assert square[0, 2] == square[0, 3] == max(w, h) * 1.25
    affine = cameras.crop_affine(square, SIZE)
    corners = torch.tensor([[[x + w / 2, y + h / 2], square[0, :2].tolist()]], dtype=torch.float64)
    expected = torch.tensor([[[SIZE / 2, SIZE / 2], [0, 0]]], dtype=torch.float64)
    torch.testing.assert_close(cameras.apply_affine(affine, corners), expected, atol=1e-6, rtol=0)
    back = cameras.apply_affine(invert_turned_affine(affine), expected)
    torch.testing.assert_close(back, corners, atol=1e-6, rtol=1e-9)


def test_boxes_of_several_pictures_have_each_a_square_of_their_own() -> None:
    boxes = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 100 + 1
    one_by_one = torch.stack([cameras.square_box(box) for box in boxes.flatten(0, 1)]).view(2, 3, 4)
    assert torch.equal(cameras.square_box(boxes), one_by_one)


def test_the_camera_of_an_enlarged_picture_sees_everything_at_enlarged_pixels() -> None:
    joints, _, _ = people_before_a_camera(5)
    camera = cameras.Intrinsics(900.0, 880.0, 300.0, 260.0)
    small, large = (torch.tensor(seen).expand(5, 4) for seen in (camera, camera.scaled(2.5)))
    torch.testing.assert_close(cameras.project(joints, large), 2.5 * cameras.project(joints, small), atol=1e-2, rtol=0)


def test_projecting_by_the_crop_camera_is_projecting_and_then_cropping() -> None:
    joints, _, _ = people_before_a_camera(20)
    picture = torch.tensor([900.0, 880.0, 300.0, 260.0]).expand(20, 4)
    affine = cameras.crop_affine(torch.tensor([[40.0, -30.0, 350.0, 350.0]]).expand(20, 4), SIZE)
    by_crop = cameras.project(joints, cameras.affine_intrinsics(picture, affine))
    then_cropped = cameras.apply_affine(affine, cameras.project(joints, picture))
    torch.testing.assert_close(by_crop, then_cropped, atol=1e-3, rtol=1e-5)


def test_a_known_point_lands_where_it_must() -> None:
    intrinsics = torch.tensor([100.0, 200.0, 32.0, 16.0])
    point = torch.tensor([[1.0, -0.5, 2.0]])  # to the right, up
    torch.testing.assert_close(cameras.project(point, intrinsics), torch.tensor([[82.0, -34.0]]))


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_uvd_and_back(seed: int) -> None:
    joints, intrinsics, _ = people_before_a_camera(8, seed)
    uvd, root_depth = cameras.uvd_from_camera(joints, intrinsics, SIZE)
    assert uvd[..., :2].abs().max() < 1
    assert (uvd[:, 0, 2] == 0).all()
    torch.testing.assert_close(root_depth, joints[:, 0, 2])
    torch.testing.assert_close(cameras.camera_from_uvd(uvd, intrinsics, SIZE, root_depth), joints, atol=1e-4, rtol=0)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_bone_lengths_tell_the_root_depth(seed: int) -> None:
    joints, intrinsics, betas = people_before_a_camera(64, seed)
    uvd, root_depth = cameras.uvd_from_camera(joints, intrinsics, SIZE)
    found = cameras.root_depth_from_bones(uvd, intrinsics, SIZE, load_body("tiny").rest_joints(betas))
    assert ((found - root_depth).abs() / root_depth).max() < 0.01


def test_one_wild_joint_does_not_move_the_body() -> None:
    joints, intrinsics, betas = people_before_a_camera(200)
    uvd, root_depth = cameras.uvd_from_camera(joints, intrinsics, SIZE)
    uvd[:, 20] += torch.tensor([0.6, -0.6, 0.5])
    found = cameras.root_depth_from_bones(uvd, intrinsics, SIZE, load_body("tiny").rest_joints(betas))
    assert ((found - root_depth).abs() / root_depth).median() < 0.01


@pytest.mark.parametrize("value", [0.0, 0.99])
def test_impossible_joints_give_a_finite_depth(value: float) -> None:
    intrinsics = torch.tensor([[300.0, 300.0, 32.0, 32.0]])
    rest = load_body("tiny").rest_joints(torch.zeros(1, 10))
    found = cameras.root_depth_from_bones(torch.full((1, 29, 3), value), intrinsics, SIZE, rest)
    assert cameras.NEAREST * 0.99 <= found.item() <= cameras.FARTHEST * 1.01


def test_the_mirrored_person_is_the_flipped_picture() -> None:
    joints, intrinsics, _ = people_before_a_camera(10)
    uvd, root_depth = cameras.uvd_from_camera(joints, intrinsics, SIZE)
    fx, fy, cx, cy = intrinsics.unbind(-1)
    mirrored = torch.stack([fx, fy, SIZE - cx, cy], -1)
    flipped, depth = cameras.uvd_from_camera(cameras.mirror_joints(joints), mirrored, SIZE)
    torch.testing.assert_close(flipped, cameras.mirror_joints(uvd), atol=1e-5, rtol=0)
    torch.testing.assert_close(depth, root_depth)


def test_mirrored_joints_and_twists_are_solved_by_mirrored_rotations() -> None:
    body = load_body("tiny")
    rotations, betas = random_people(50, seed=5)
    rest = body.rest_joints(betas)
    joints, twist = body.joints(rotations, betas), twist_from_rotations(rotations, rest)
    solved = solve_rotations(cameras.mirror_joints(joints), rest, cameras.mirror_twist(twist))
    torch.testing.assert_close(solved, mirror_rotations(rotations), atol=2e-3, rtol=0)


def test_the_focal_length_of_an_unknown_picture_is_its_diagonal() -> None:
    assert cameras.default_focal_px(640, 480) == math.hypot(640, 480) == 800
