"""What the published conventions must have in common with the engine's own, wherever no golden number says so."""

import math

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import cameras, published_crops, skeleton
from models.published_metrics import published_candidates, published_joint_errors_mm
from tests.parity import published
from tests.parity.published import quaternions_from_rotations, rotations_from_quaternions

seeds = st.integers(0, 10_000)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_quaternions_and_back(seed: int) -> None:
    axis = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)
    angle = torch.linspace(0, math.pi, 20)[:, None]
    rotations = roma.rotvec_to_rotmat(axis * angle)
    quaternions = quaternions_from_rotations(rotations)
    torch.testing.assert_close(quaternions.norm(dim=-1), torch.ones(20))
    torch.testing.assert_close(rotations_from_quaternions(quaternions), rotations, atol=1e-5, rtol=0)
    torch.testing.assert_close(rotations_from_quaternions(-3 * quaternions), rotations, atol=1e-5, rtol=0)
    torch.testing.assert_close(quaternions[:, 0].abs(), torch.cos(angle[:, 0] / 2), atol=1e-5, rtol=0)


def test_the_published_square_is_the_engines_but_for_its_pixel() -> None:
    box = torch.tensor([10.0, 20.0, 101.0, 51.0])
    square = published_crops.published_square(box, 1.0)
    torch.testing.assert_close(square, torch.tensor([10.0, -5.0, 100.0, 100.0]))
    engine = cameras.square_box(box, 1.0)
    torch.testing.assert_close(square[:2] + square[2:] / 2, engine[:2] + engine[2:] / 2 - 0.5)


@given(seeds, st.floats(-180, 180, width=32))
@settings(max_examples=40, deadline=None)
def test_turned_maps_keep_the_centre_and_can_be_undone(seed: int, degrees: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    centre = 500 * torch.rand(4, 2, generator=generator, dtype=torch.float64)
    side = 20 + 500 * torch.rand(4, generator=generator, dtype=torch.float64)
    turn = torch.full_like(side, degrees)
    affine = published.turned_crop_affine(centre, side, turn, 64)
    middle = cameras.apply_affine(affine, centre[:, None])
    torch.testing.assert_close(middle, torch.full_like(middle, 32))
    back = cameras.apply_affine(published_crops.invert_turned_affine(affine), middle)
    torch.testing.assert_close(back, centre[:, None])
    straight = published.turned_crop_affine(centre, side, torch.zeros_like(side), 64)
    square = torch.cat([centre - side[:, None] / 2, side[:, None], side[:, None]], -1)
    torch.testing.assert_close(straight, cameras.crop_affine(square, 64))


def test_stored_joints_and_flips_can_be_undone() -> None:
    uvd = torch.rand(3, skeleton.JOINTS, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    stored = published_crops.crop_joints(uvd)
    torch.testing.assert_close(published_crops.normalised_joints(stored), uvd, atol=1e-6, rtol=0)
    flipped = published.flip_pixels(stored, 256)
    torch.testing.assert_close(published.flip_pixels(flipped, 256), stored, atol=1e-4, rtol=0)
    torch.testing.assert_close(flipped[:, 1, 0], 255 - stored[:, 2, 0])
    body = torch.randn(2, 17, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(published.flip_human36m(published.flip_human36m(body)), body)


def test_a_box_is_clipped_into_its_picture() -> None:
    corners = published.corners_of_box(torch.tensor([-3.0, 470.0, 1000.0, 30.0]))
    clipped = published.clip_corners(corners, 640, 480)
    assert clipped.tolist() == [0, 470, 639, 479]


def test_the_published_minimum_is_never_above_the_plain_one() -> None:
    generator = torch.Generator().manual_seed(0)
    uvd, scores = torch.randn(4, 7, 29, 3, generator=generator), torch.randn(4, 7, generator=generator)
    twists = torch.randn(4, 7, 23, 2, generator=generator)
    candidates = published_candidates(uvd, twists, scores)
    assert candidates.uvd.shape == (4, 9, 29, 3)
    torch.testing.assert_close(candidates.uvd[:, 1:-1], uvd)
    errors = candidates.uvd.square().mean((2, 3))
    found = published.aggregates(errors, candidates.scores)
    assert found.published_min < errors[:, 1:-1].amin(1).mean()
    assert found.published_select == pytest.approx(float(errors[:, 0].mean()))
    assert found.published_zero_noise == pytest.approx(float(errors[:, 1].mean()))
    assert found.published_hypotheses_mean == pytest.approx(float(errors[:, -1].mean()))


def test_the_two_orders_of_alignment_differ_and_only_17_joints_will_do() -> None:
    generator = torch.Generator().manual_seed(0)
    joints, label = torch.randn(2, 5, 17, 3, generator=generator), torch.randn(5, 17, 3, generator=generator)
    first, second = (published_joint_errors_mm(joints, label, order) for order in ("3dpw", "human36m"))
    torch.testing.assert_close(first.mpjpe, second.mpjpe)
    assert first.mpjpe.shape == (2, 5, 14)
    assert (first.pa_mpjpe.mean(-1) < second.pa_mpjpe.mean(-1)).float().mean() > 0.5
    assert not torch.allclose(first.pa_mpjpe, second.pa_mpjpe)
    with pytest.raises(ValueError, match="17"):
        published_joint_errors_mm(joints[..., :14, :], label)
