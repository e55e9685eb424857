"""Metrics: hand-made cases, and what must not change them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from models import metrics

seeds = st.integers(0, 2**32 - 1)


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 0.3)


def _turn(seed: int) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(random_state=seed % 2**31).as_matrix().astype(np.float32))


def test_mpjpe_of_a_hand_made_case() -> None:
    label = _random(0, 2, 24, 3)
    joints = label.clone()
    joints[0, 5] += torch.tensor([0.03, 0.04, 0.0])  # 50 mm on one of 24 joints
    joints[1] += torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(metrics.mpjpe_mm(joints, label), torch.tensor([50 / 24, 0.0]), atol=1e-3, rtol=0)


def test_a_wrong_root_moves_every_other_joint() -> None:
    label = _random(1, 24, 3)
    joints = label.clone()
    joints[0] += torch.tensor([0.0, 0.0, 0.024])
    assert metrics.mpjpe_mm(joints, label).item() == pytest.approx(24 * 23 / 24, abs=1e-3)


def test_leaves_do_not_count() -> None:
    label = _random(2, 3, 29, 3)
    joints = label.clone()
    joints[:, 24:] += 5
    assert metrics.mpjpe_mm(joints, label).abs().max() == 0
    with pytest.raises(ValueError, match="24 or more"):
        metrics.mpjpe_mm(joints[:, :17], label[:, :17])


def test_mpvpe_uses_the_roots_that_it_is_given() -> None:
    label = _random(3, 2, 7, 3)
    root = _random(4, 2, 3)
    moved = label + torch.tensor([0.01, 0.0, 0.0])
    torch.testing.assert_close(metrics.mpvpe_mm(moved, label, root, root), torch.full((2,), 10.0), atol=1e-3, rtol=0)
    follows = root + torch.tensor([0.01, 0.0, 0.0])
    assert metrics.mpvpe_mm(moved, label, follows, root).max() < 1e-3


def test_meshes_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="must both end in"):
        metrics.mpvpe_mm(_random(0, 1, 3), _random(0, 9, 3), _random(0, 3), _random(0, 3))


def test_hypotheses_broadcast_against_their_label() -> None:
    hypotheses, label = _random(5, 2, 6, 24, 3), _random(6, 2, 24, 3)
    together = metrics.pa_mpjpe_mm(hypotheses, label[:, None])
    assert together.shape == (2, 6)
    torch.testing.assert_close(together[1, 4], metrics.pa_mpjpe_mm(hypotheses[1, 4], label[1]))


@given(seeds, st.floats(-5, 5), st.floats(-5, 5))
@settings(max_examples=50, deadline=None)
def test_mpjpe_is_blind_to_translation_alone(seed: int, x: float, z: float) -> None:
    joints, label = _random(seed, 24, 3), _random(seed + 1, 24, 3)
    before = metrics.mpjpe_mm(joints, label)
    torch.testing.assert_close(metrics.mpjpe_mm(joints + torch.tensor([x, 0, z]), label), before, atol=0.01, rtol=0)
    turned = metrics.mpjpe_mm(joints @ _turn(seed).T, label)
    assert abs(turned - before) > 1e-3


@given(seeds, st.floats(0.2, 5))
@settings(max_examples=50, deadline=None)
def test_pa_is_blind_to_similarities(seed: int, scale: float) -> None:
    joints, label = _random(seed, 24, 3), _random(seed + 1, 24, 3)
    similar = scale * joints @ _turn(seed).T + _random(seed + 2, 3)
    torch.testing.assert_close(
        metrics.pa_mpjpe_mm(similar, label), metrics.pa_mpjpe_mm(joints, label), atol=0.02, rtol=1e-4
    )
    torch.testing.assert_close(
        metrics.pa_mpvpe_mm(similar, label), metrics.pa_mpvpe_mm(joints, label), atol=0.02, rtol=1e-4
    )
    assert metrics.pa_mpjpe_mm(similar, joints) < 0.01


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_alignment_agrees_with_scipy_where_no_mirror_is_involved(seed: int) -> None:
    label = _random(seed, 24, 3)
    points = label @ _turn(seed).T + _random(seed + 1, 24, 3) * 0.1
    aligned = metrics.procrustes_align(points, label)
    expected = procrustes(label.double().numpy(), points.double().numpy())[2]
    centred = label.double() - label.double().mean(0)
    residual = ((aligned - label).double().square().sum() / centred.square().sum()).item()
    assert residual == pytest.approx(expected, rel=1e-3)


def test_a_mirror_image_stays_mirrored() -> None:
    label = _random(7, 24, 3)
    mirrored = label * torch.tensor([-1.0, 1.0, 1.0])
    aligned = metrics.procrustes_align(mirrored, label)
    assert metrics.pa_mpjpe_mm(mirrored, label) > 50
    # The best rotation of all: no other one, tried at random, comes nearer.
    best = (aligned - label).square().sum()
    centred, target = mirrored - mirrored.mean(0), label - label.mean(0)
    for seed in range(200):
        turned = centred @ _turn(seed).T
        scale = ((turned * target).sum() / turned.square().sum()).clamp_min(0)  # a negative scale would mirror
        assert (scale * turned - target).square().sum() >= best - 1e-5


def test_flat_and_collapsed_poses_align_without_nan() -> None:
    label = _random(8, 24, 3)
    flat = label * torch.tensor([1.0, 1.0, 0.0])
    assert metrics.pa_mpjpe_mm(flat @ _turn(1).T, flat) < 0.01
    point = torch.full((24, 3), 0.7)
    torch.testing.assert_close(metrics.procrustes_align(point, label), label.mean(0).expand(24, 3), atol=1e-5, rtol=0)


def test_diversity_of_a_hand_made_case() -> None:
    joints = torch.zeros(1, 2, 4, 3)
    joints[0, 0, 1, 0], joints[0, 1, 1, 0] = 0.03, -0.01  # mean 10 mm, each 20 mm away, one of four joints
    torch.testing.assert_close(metrics.diversity_mm(joints), torch.tensor([5.0]))
    assert metrics.diversity_mm(joints[:, :1]).item() == 0


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_diversity_counts_poses_and_not_places(seed: int) -> None:
    joints = _random(seed, 3, 10, 24, 3)
    before = metrics.diversity_mm(joints)
    assert before.shape == (3,)
    torch.testing.assert_close(metrics.diversity_mm(joints + _random(seed, 3, 10, 1, 3)), before, atol=1e-2, rtol=0)
    torch.testing.assert_close(metrics.diversity_mm(joints * 2), before * 2, atol=1e-2, rtol=1e-5)
