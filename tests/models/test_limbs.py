"""Limbs on a map: distances to bones, and what is under them."""

import pytest
import torch

from models.limbs import limb_distance, under_limbs
from models.skeleton import PARENTS


def line() -> torch.Tensor:
    """All joints in one place, but the first: a single bone from (-0.5, 0) to (0.5, 0), of every hypothesis."""
    uv = torch.zeros(1, 1, 29, 2)
    uv[..., 0] = 0.5
    uv[0, 0, 0, 0] = -0.5
    return uv


def test_distances_are_those_to_the_nearest_point_of_a_bone() -> None:
    torch.manual_seed(0)
    uv = torch.rand(2, 3, 29, 2) * 2 - 1
    found = limb_distance(uv, 4, 6).view(2, 3, 4, 6)
    rows, columns = (torch.arange(4) + 0.5) / 2 - 1, (torch.arange(6) + 0.5) / 3 - 1
    steps = torch.linspace(0, 1, 2001)[:, None]
    for image, sample, row, column in ((0, 0, 0, 0), (1, 2, 3, 5), (0, 1, 2, 3)):
        joints = uv[image, sample]
        points = torch.cat([joints[PARENTS[j]] * (1 - steps) + joints[j] * steps for j in range(1, 29)])
        cell = torch.stack([columns[column], rows[row]])
        nearest = (points - cell).norm(dim=-1).min()
        assert found[image, sample, row, column].item() == pytest.approx(nearest.item(), abs=1e-3)


def test_features_are_those_under_the_limb_and_around_it() -> None:
    fine = torch.zeros(1, 2, 16, 16)
    fine[0, 0, 7:9, 4:12] = 1.0  # where the bone is
    fine[0, 1, :5] = 1.0  # far away
    inside, far, around, _ = under_limbs(fine, line(), 0.1)[0, 0].tolist()
    assert inside > 0.8
    assert around < 0.4
    assert far < 0.05
    moved = under_limbs(fine, line() + torch.tensor([0.0, -0.7]), 0.1)[0, 0]
    assert moved[0] < 0.05
    assert moved[1] > 0.9


def test_off_the_map_there_is_nothing() -> None:
    assert under_limbs(torch.ones(1, 2, 8, 8), line() + 30.0, 0.1).abs().max() < 1e-3
