import math
import time
from typing import get_args

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import skeleton
from models.bodies import load_body
from models.kinematics import Root, _swing, solve_rotations, twist_from_rotations
from tests.models.poses import random_people
from tests.parity.published import swing_and_twist

ROOTS: tuple[Root, ...] = get_args(Root)


@pytest.mark.slow
@pytest.mark.parametrize("root", ROOTS)
def test_ten_thousand_people_survive_the_round_trip(root: Root) -> None:
    body = load_body("tiny")
    rotations, betas = random_people(10_000)
    rest = body.rest_joints(betas)
    solved = solve_rotations(
        body.joints(rotations, betas),
        rest,
        twist_from_rotations(rotations, rest),
        root=root,
    )
    for rows in torch.arange(len(betas)).split(1000):
        before, after = body(rotations[rows], betas[rows]), body(solved[rows], betas[rows])
        assert (before.vertices - after.vertices).norm(dim=-1).mean(1).max() < 1e-3
        assert (before.joints - after.joints).norm(dim=-1).max() < 1e-4


def test_solving_is_fast_on_one_thread() -> None:
    body = load_body("tiny")
    rotations, betas = random_people(10_000, seed=1)
    rest = body.rest_joints(betas)
    joints, twist = body.joints(rotations, betas), twist_from_rotations(rotations, rest)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        solve_rotations(joints, rest, twist)
        assert time.process_time() - start < 2
    finally:
        torch.set_num_threads(threads)


def _one_person() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    body = load_body("tiny")
    rotations, betas = random_people(3, seed=2)
    rest = body.rest_joints(betas)
    return rotations, body.joints(rotations, betas), rest, twist_from_rotations(rotations, rest)


def test_only_directions_count() -> None:
    rotations, joints, rest, twist = _one_person()
    solved = solve_rotations(2000 * joints + 5, rest, 1.7 * twist)
    torch.testing.assert_close(solved, rotations, atol=1e-4, rtol=0)


@given(st.lists(st.floats(-3.1, 3.1), min_size=23, max_size=23))
@settings(max_examples=30, deadline=None)
def test_the_twist_of_a_turn_about_the_bone_is_its_angle(angles: list[float]) -> None:
    body, betas = load_body("tiny"), torch.zeros(1, 10)
    rest = body.rest_joints(betas)
    children = list(skeleton.TWIST_CHILD[1:])
    bone = torch.nn.functional.normalize(rest[:, children] - rest[:, 1:24], dim=-1)
    turn = roma.rotvec_to_rotmat(bone * torch.tensor(angles)[None, :, None])
    rotations = torch.cat([torch.eye(3).expand(1, 1, 3, 3), turn], 1)
    expected = torch.tensor([[math.cos(a), math.sin(a)] for a in angles])[None]
    torch.testing.assert_close(twist_from_rotations(rotations, rest), expected, atol=1e-4, rtol=0)
    solved = solve_rotations(body.joints(rotations, betas), rest, expected)
    torch.testing.assert_close(solved, rotations, atol=1e-4, rtol=0)


@given(st.integers(0, 10_000), st.sampled_from(ROOTS))
@settings(max_examples=40, deadline=None)
def test_anything_finite_gives_rotations(seed: int, root: Root) -> None:
    generator = torch.Generator().manual_seed(seed)
    rest = load_body("tiny").rest_joints(torch.zeros(2, 10))
    joints, twist = torch.randn(2, 29, 3, generator=generator), torch.randn(2, 23, 2, generator=generator)
    solved = solve_rotations(joints, rest, twist, root=root)
    torch.testing.assert_close(solved @ solved.mT, torch.eye(3).expand_as(solved), atol=1e-3, rtol=0)
    assert (torch.linalg.det(solved) > 0.99).all()


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("case", ["all joints in one place", "bones reversed", "rest pose", "no rest skeleton either"])
def test_degenerate_bones_give_finite_rotations_and_gradients(root: Root, case: str) -> None:
    rest = load_body("tiny").rest_joints(torch.zeros(1, 10))
    joints = {"all joints in one place": torch.zeros(1, 29, 3), "bones reversed": -rest}.get(case, rest).clone()
    if case == "no rest skeleton either":
        joints, rest = torch.zeros_like(joints), torch.zeros_like(rest)
    twist = torch.zeros(1, 23, 2)
    inputs = [value.clone().requires_grad_() for value in (joints, rest, twist)]
    solved = solve_rotations(inputs[0], inputs[1], inputs[2], root)
    weights = torch.randn(solved.shape, generator=torch.Generator().manual_seed(0))
    (solved * weights).sum().backward()
    assert solved.isfinite().all()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in inputs)


@pytest.mark.parametrize("miss", [4e-5, 1e-4, 9e-4])
def test_bones_a_little_short_of_half_a_turn_are_turned_by_a_rotation(miss: float) -> None:
    """What is half-way between them is then of few digits, and must not be divided by."""
    generator = torch.Generator().manual_seed(0)
    start, other = (torch.randn(2000, 3, generator=generator) for _ in range(2))
    start = torch.nn.functional.normalize(start, dim=-1)
    aside = torch.nn.functional.normalize(torch.linalg.cross(start, other), dim=-1)
    end = torch.nn.functional.normalize(miss * aside - start, dim=-1).requires_grad_()
    swing = _swing(start, end)
    torch.testing.assert_close(swing @ swing.mT, torch.eye(3).expand_as(swing), atol=2.5e-3, rtol=0)
    torch.testing.assert_close((swing @ start[..., None])[..., 0], end, atol=1e-3, rtol=0)
    swing.abs().sum().backward()
    assert end.grad is not None
    assert end.grad.abs().max() < 100


def test_gradients_are_those_of_finite_differences() -> None:
    _, joints, rest, twist = (value[:1].double() for value in _one_person())
    inputs = tuple(value.clone().requires_grad_() for value in (joints, rest, twist))
    assert torch.autograd.gradcheck(
        lambda j, r, t: solve_rotations(j, r, t).sum((0, 1)), inputs, eps=1e-6, atol=1e-4, rtol=1e-3, fast_mode=True
    )


def test_procrustes_bears_noise_in_the_joints_better() -> None:
    body = load_body("tiny")
    rotations, betas = random_people(500, seed=3)
    rest = body.rest_joints(betas)
    twist = twist_from_rotations(rotations, rest)
    joints = body.joints(rotations, betas)
    noisy = joints + 0.01 * torch.randn(joints.shape, generator=torch.Generator().manual_seed(0))
    angle = {
        root: roma.rotmat_geodesic_distance(
            solve_rotations(noisy, rest, twist, root=root)[:, 0],
            rotations[:, 0],
        ).mean()
        for root in ROOTS
    }
    assert angle["procrustes"] < angle["published"] / 2


def test_the_adaptive_solution_lands_nearer_to_where_joints_were_seen() -> None:
    rotations, joints, rest, twist = _one_person()
    seen = joints + 0.002 * torch.randn(joints.shape, generator=torch.Generator().manual_seed(1))
    body, betas = load_body("tiny"), random_people(3, seed=2)[1]
    miss = {
        adaptive: (body.joints(solve_rotations(seen, rest, twist, "procrustes", adaptive), betas) - joints)
        .norm(dim=-1)[:, :24]
        .mean()
        for adaptive in (False, True)
    }
    assert miss[True] < miss[False]
    exact = solve_rotations(joints, rest, twist, "procrustes", adaptive=True)
    torch.testing.assert_close(exact, rotations, atol=1e-3, rtol=0)
    # Far from where any bone could end, it adapts nothing.
    far = solve_rotations(2000 * joints, rest, twist, "procrustes", adaptive=True)
    torch.testing.assert_close(far, solve_rotations(2000 * joints, rest, twist, "procrustes"), atol=1e-4, rtol=0)


def test_swing_and_twist_make_the_rotation_again() -> None:
    rotations, _, rest, _ = _one_person()
    swing, spin = swing_and_twist(rotations, rest)
    torch.testing.assert_close(swing[:, 1:] @ spin, rotations[:, 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(swing[:, 0], rotations[:, 0])
    assert twist_from_rotations(swing, rest)[..., 0].min() > 0.999
