"""Preference objectives and the scorer's losses against hand-made cases."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.objectives import (
    PREFERENCES,
    DenoisingError,
    PairErrors,
    denoising_error,
    dpo,
    edm_weight,
    error_to_score,
    kto,
    rank_loss,
    scorer_loss,
    smpl_loss,
    squared_error,
)
from schemas.config.training import AlignConfig


def _error(value: float) -> DenoisingError:
    return DenoisingError(torch.tensor([value]), torch.tensor([value / 2]))


def test_denoising_error_keeps_joints_and_twists_apart() -> None:
    predicted, target = torch.zeros(2, 133), torch.zeros(2, 133)
    predicted[0, :87], predicted[1, 87:] = 2.0, 3.0
    error = denoising_error(predicted, target, torch.tensor([[0.5], [1.0]]))
    assert error.joints.tolist() == [2.0, 0.0]
    assert error.twists.tolist() == [0.0, 9.0]
    assert error.total.tolist() == [2.0, 9.0]


def test_dpo_starts_at_log_two_for_each_part() -> None:
    loss = dpo(_error(1.0), _error(2.0), _error(1.0), _error(2.0), beta=100.0).loss
    assert loss.item() == pytest.approx(2 * math.log(2))


@given(st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_dpo_falls_when_the_winner_gets_likelier_than_the_loser(better: float, worse: float) -> None:
    level = dpo(_error(1.0), _error(1.0), _error(1.0), _error(1.0), beta=10.0)
    moved = dpo(_error(1.0 - better), _error(1.0 + worse), _error(1.0), _error(1.0), beta=10.0)
    assert moved.loss.item() <= level.loss.item() + 1e-6
    assert moved.winner_change.item() == pytest.approx(-1.5 * better, abs=1e-5)
    assert moved.loser_change.item() == pytest.approx(1.5 * worse, abs=1e-5)


def test_dpo_can_fall_although_the_winner_gets_worse() -> None:
    """The known failure of a bare DPO: both errors grow, the margin still rises. The changes show it."""
    moved = dpo(_error(1.2), _error(1.9), _error(1.0), _error(1.0), beta=10.0)
    assert moved.loss.item() < 2 * math.log(2)
    assert moved.winner_change.item() > 0


def test_objectives_are_sums_of_dpo_and_the_winners_own_error() -> None:
    policy = PairErrors(_errors(1.2, 0.5), _errors(1.9, 0.7))
    reference = PairErrors(_errors(1.0, 0.6), _errors(1.0, 0.9))
    config = AlignConfig(beta=3.0, anchor=0.25)
    plain = dpo(*policy, *reference, beta=3.0).loss.mean()
    expected = {"anchored_dpo": plain + 0.25 * 0.85, "dpo": plain, "sft": torch.tensor(0.85)}
    assert PREFERENCES.keys() == expected.keys() == set(get_args(AlignConfig.model_fields["objective"].annotation))
    for name, objective in PREFERENCES.items():
        made = objective.loss(policy, lambda: reference, config)
        torch.testing.assert_close(made.loss, expected[name])
        assert (made.preference is None) == (name == "sft")


def test_training_on_winners_asks_for_no_reference() -> None:
    def reference() -> PairErrors:
        raise AssertionError("the reference costs a pass of its own")

    made = PREFERENCES["sft"].loss(PairErrors(_errors(1.0), _errors(2.0)), reference, AlignConfig())
    assert made.loss.item() == 1.0


def _errors(*joints: float) -> DenoisingError:
    return DenoisingError(torch.tensor(joints), torch.zeros(len(joints)))


def test_kto_starts_at_one_half() -> None:
    same = _errors(1.0, 3.0, 2.0)
    assert kto(same, same, torch.tensor([True, False, True]), beta=100.0).tolist() == [[0.5, 0.5]] * 3


def test_kto_wants_desirable_hypotheses_likelier_and_others_not() -> None:
    before, after = _errors(1.0, 1.0), _errors(0.9, 1.1)
    right = kto(after, before, torch.tensor([True, False]), beta=10.0)[:, 0]
    wrong = kto(after, before, torch.tensor([False, True]), beta=10.0)[:, 0]
    assert (right < 0.5).all()
    torch.testing.assert_close(right + wrong, torch.ones(2))


def test_kto_takes_a_common_gain_off_but_no_common_loss() -> None:
    before, desirable = _errors(1.0, 1.0), torch.tensor([True, True])
    assert kto(_errors(0.5, 0.5), before, desirable, beta=10.0)[:, 0].tolist() == [0.5, 0.5]
    assert (kto(_errors(1.5, 1.5), before, desirable, beta=10.0)[:, 0] > 0.99).all()


def test_kto_does_not_learn_through_the_common_gain() -> None:
    now = DenoisingError(torch.tensor([0.5, 0.5], requires_grad=True), torch.zeros(2))
    kto(now, _errors(1.0, 1.0), torch.tensor([True, True]), beta=10.0).sum().backward()
    torch.testing.assert_close(now.joints.grad, torch.full((2,), 2.5))  # beta / 4, as if nothing had been taken off


def test_loss_on_labels_divides_by_all_crops_whichever_count() -> None:
    uv, betas = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    loss = smpl_loss(uv, betas, DenoisingError(torch.ones(2), torch.ones(2)), counted=torch.tensor([1, 0]))
    assert [part.item() for part in loss] == pytest.approx([40 * 1 / 2, 10 * 3 / 2, 87 / 2, 46 / 2])
    assert loss.total.item() == pytest.approx(sum(part.item() for part in loss))


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
