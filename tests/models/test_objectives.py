"""The denoising error, the loss on labels and the scorer's losses against hand-made cases."""

import math

import pytest
import torch

from models.objectives import (
    denoising_error,
    edm_weight,
    error_to_score,
    rank_loss,
    scorer_loss,
    squared_error,
)


def test_denoising_error_keeps_joints_and_twists_apart() -> None:
    predicted, target = torch.zeros(2, 133), torch.zeros(2, 133)
    predicted[0, :87], predicted[1, 87:] = 2.0, 3.0
    error = denoising_error(predicted, target, torch.tensor([[0.5], [1.0]]))
    assert error.joints.tolist() == [2.0, 0.0]
    assert error.twists.tolist() == [0.0, 9.0]
    assert error.total.tolist() == [2.0, 9.0]


def test_squared_error_sums_what_has_weight() -> None:
    weight = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])
    assert squared_error(torch.full((2, 1, 2), 3.0), torch.ones(2, 1, 2), weight).tolist() == [4.0, 8.0]


def test_scorer_loss_keeps_the_errors_apart() -> None:
    raw = torch.tensor([[1.0, 0.0, -1.0]])
    errors = {"mpvpe": torch.tensor([[10.0, 155.0, 300.0]]), "pa_mpvpe": torch.tensor([[300.0, 80.0, 10.0]])}
    loss = scorer_loss(raw, errors)
    assert loss.rank["mpvpe"] < loss.rank["pa_mpvpe"]
    assert loss.score["mpvpe"].item() == pytest.approx(2 * torch.sigmoid(torch.tensor(-5.0)).item() ** 2 / 3, rel=1e-4)


def test_published_rank_loss_costs_a_hundred_at_most() -> None:
    scores, errors = torch.tensor([[1e4, -1e4]], requires_grad=True), torch.tensor([[2.0, 1.0]])
    loss = rank_loss(scores, errors, sigma=5.0, published=True)
    assert loss.item() == 100.0


def test_rank_loss_prefers_the_right_order() -> None:
    errors = torch.tensor([[10.0, 20.0, 30.0]])
    right = rank_loss(torch.tensor([[3.0, 2.0, 1.0]]), errors, sigma=5.0)
    wrong = rank_loss(torch.tensor([[1.0, 2.0, 3.0]]), errors, sigma=5.0)
    level = rank_loss(torch.zeros(1, 3), errors, sigma=5.0)
    assert right < level < wrong
    # Three comparisons of equal scores cost log 2 each; the rest of the triangle is cut off.
    assert level.item() == pytest.approx(3 * math.log(2))


def test_rank_loss_does_not_overflow() -> None:
    loss = rank_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([[2.0, 1.0]]), sigma=5.0)
    assert torch.isfinite(loss).all()


def test_error_to_score() -> None:
    scores = error_to_score(torch.tensor([0.0, 10.0, 50.0, 155.0, 300.0, 400.0]), best_mm=10.0, worst_mm=300.0)
    torch.testing.assert_close(scores, torch.tensor([1.0, 1.0, 0.86206895, 0.5, 0.0, 0.0]))


def test_edm_weight_is_the_inverse_of_the_squared_output_scale() -> None:
    sigma, spread = torch.tensor([[0.1], [1.0], [50.0]]), 1.5
    output_scale = sigma * spread / (sigma**2 + spread**2).sqrt()
    torch.testing.assert_close(edm_weight(sigma, spread), 1 / output_scale**2)
