"""Objectives of preferences against hand-made cases; what holds for all of them is in tests/invariants."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.objectives import DenoisingError
from models.preferences.comparison import Comparison, PreferenceLoss
from models.preferences.dpo import dpo
from models.preferences.kto import kto
from models.preferences.table import PREFERENCES
from schemas.config.training import AlignConfig


def _error(value: float) -> DenoisingError:
    return DenoisingError(torch.tensor([value]), torch.tensor([value / 2]))


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


def learned(
    name: str, policy: list[list[float]], reference: list[list[float]], scores: list[list[float]], **changes: float
) -> PreferenceLoss:
    """What an objective makes of the joints' errors (N, S); twists are never wrong."""
    mine, theirs = (
        DenoisingError(torch.tensor(part), torch.zeros(len(part), len(part[0]))) for part in (policy, reference)
    )
    compared = Comparison(mine, lambda: theirs, torch.tensor(scores))
    return PREFERENCES[name].loss(compared, AlignConfig(**{"beta": 2.0, "pairs_per_crop": 1, **changes}))


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


WINNING = {"policy": [[0.9, 1.2]], "reference": [[1.0, 1.0]], "scores": [[0.8, 0.2]]}
"""A pair whose winner got better by 0.1, whose loser got worse by 0.2: a gain of 0.3 at beta 2."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dpo", softplus(-0.3) + math.log(2)),
        ("anchored_dpo", softplus(-0.3) + math.log(2) + 0.5 * 0.9),
        ("sft", 0.9),
        ("ipo", (0.3 - 0.5) ** 2 + 0.25),
        ("hinge", 0.7 + 1),
        ("kto", (2 - 1 / (1 + math.exp(-0.2)) - 1 / (1 + math.exp(-0.4)) + 1) / 2),
        ("group", softplus(-0.3) + math.log(2)),
        ("listwise", softplus(-0.3) + math.log(2)),
    ],
)
def test_a_pair_by_hand(name: str, expected: float) -> None:
    made = learned(name, **WINNING, anchor=0.5)
    assert made.loss.item() == pytest.approx(expected, rel=1e-5)
    if made.preference is not None:
        assert made.preference.winner_change.item() == pytest.approx(-0.1, abs=1e-6)
        assert made.preference.loser_change.item() == pytest.approx(0.2, abs=1e-6)


def test_the_hinge_lets_pairs_go_that_lead_by_enough_and_ipo_draws_them_back() -> None:
    far = {**WINNING, "policy": [[0.0, 3.0]]}
    assert learned("hinge", **far).loss.item() == 1.0  # the twists' term, where nothing moved
    assert learned("ipo", **far).loss.item() == pytest.approx((3.0 - 0.5) ** 2 + 0.25)


def test_training_on_winners_asks_for_no_reference() -> None:
    def reference() -> DenoisingError:
        raise AssertionError("the reference costs a pass of its own")

    compared = Comparison(DenoisingError(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)), reference, torch.ones(1, 2))
    made = PREFERENCES["sft"].loss(compared, AlignConfig())
    assert made.loss.item() == 1.0
    assert made.preference is None


def test_a_list_by_hand() -> None:
    """Rewards 0.1, 0 and -0.2, in the order of the scores."""
    made = learned("listwise", [[0.9, 1.0, 1.2]], [[1.0, 1.0, 1.0]], [[0.9, 0.5, 0.1]])
    rewards = [0.1, 0.0, -0.2]
    expected = sum(
        math.log(sum(math.exp(lower) for lower in rewards[place:])) - rewards[place] for place in range(len(rewards))
    )
    assert made.loss.item() == pytest.approx(expected + math.log(6), rel=1e-5)
    other = learned("listwise", [[1.2, 1.0, 0.9]], [[1.0, 1.0, 1.0]], [[0.9, 0.5, 0.1]])
    assert other.loss > made.loss


def test_a_group_by_hand() -> None:
    """Scores 1, 0, 0 have advantages sqrt(2), -sqrt(1/2), -sqrt(1/2): the best against the mean of the others."""
    made = learned("group", [[0.9, 1.0, 1.2]], [[1.0] * 3], [[1.0, 0.0, 0.0]])
    assert made.loss.item() == pytest.approx(softplus(-(0.1 + 0.1)) + math.log(2), rel=1e-5)
    # clipped at 0.1, good and bad weigh alike all the same
    clipped = learned("group", [[0.9, 1.0, 1.2]], [[1.0] * 3], [[1.0, 0.0, 0.0]], advantage_clip=0.1)
    assert clipped.loss.item() == pytest.approx(made.loss.item(), rel=1e-6)
    # of scores 1, 0.6, -1.6 the second is good, too, but less so unless both are clipped
    uneven = [[0.9, 1.0, 1.2]], [[1.0] * 3], [[1.0, 0.6, -1.6]]
    assert learned("group", *uneven).loss.item() == pytest.approx(softplus(-(0.1 / 1.6 + 0.2)) + math.log(2), rel=1e-5)
    alike = learned("group", *uneven, advantage_clip=0.1).loss.item()
    assert alike == pytest.approx(softplus(-(0.05 + 0.2)) + math.log(2), rel=1e-5)


def test_a_group_pushes_the_bad_no_further_than_its_guard_and_learns_nothing_of_equals() -> None:
    free, held = (
        learned("group", [[1.0, 4.0]], [[1.0, 2.0]], [[1.0, 0.0]], guard=guard).loss.item() for guard in (1.0, 0.25)
    )
    assert free == pytest.approx(softplus(-2.0) + math.log(2), rel=1e-5)
    assert held == pytest.approx(softplus(-0.5) + math.log(2), rel=1e-5)
    # what got worse among the good is no lead, however much
    good = learned("group", [[4.0, 2.0]], [[1.0, 2.0]], [[1.0, 0.0]], guard=0.25).loss.item()
    assert good == pytest.approx(softplus(3.0) + math.log(2), rel=1e-5)
    equal = learned("group", [[0.1, 4.0]], [[1.0, 2.0]], [[0.5, 0.5]])
    assert equal.loss.item() == pytest.approx(2 * math.log(2))


def missing(values: list[float]) -> DenoisingError:
    """Errors (1, S) of predictions that miss every number by as much."""
    missed = torch.tensor(values)[None, :, None].expand(-1, -1, 133)
    squared = missed[..., 0].square()
    return DenoisingError(squared, squared, missed)


def test_nft_by_hand() -> None:
    """Good halves (r = 1, 1/2 and 0), a policy that misses by 0.5, 1 and 2 where its reference misses by 1."""
    compared = Comparison(missing([0.5, 1.0, 2.0]), lambda: missing([1.0, 1.0, 1.0]), torch.tensor([[2.0, 1.0, 0.0]]))
    made = PREFERENCES["nft"].loss(compared, AlignConfig(nft_mix=0.5))
    towards, away = (0.75**2, 1.0, 1.5**2), (1.25**2, 1.0, 0.5**2)
    expected = 2 * (towards[0] + 0.5 * (towards[1] + away[1]) + away[2]) / 3
    assert made.loss.item() == pytest.approx(expected, rel=1e-5)


def test_kto_shares_what_is_gained_within_a_crop_alone() -> None:
    """Two pairs of a crop, or of two: a gain that a whole crop makes is no merit there."""
    policy, reference, scores = [[0.5, 0.5], [1.0, 1.0]], [[1.0] * 2] * 2, [[1.0, 0.0]] * 2
    apart = learned("kto", policy, reference, scores).loss.item()
    assert apart == pytest.approx(1.0)
    together = learned("kto", policy, reference, scores, pairs_per_crop=2).preference
    assert together is not None
    # z = 1/4: what gained 1/2 is ahead by 1/4, as winner and as loser, and the others behind by as much
    half = sum(1 - 1 / (1 + math.exp(-sign * 2 * 0.25)) for sign in (1, -1)) / 2
    assert together.loss.tolist() == pytest.approx([half + 0.5, half + 0.5])


def present_and_absent() -> tuple[Tensor, Comparison]:
    error = DenoisingError(torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 3.0]]), torch.zeros(2, 3))
    present = torch.tensor([[True, True, False], [True, True, True]])
    return present, Comparison(error, lambda: error, torch.tensor([[0.9, 0.4, 0.9], [0.9, 0.4, 0.1]]), present)


def test_the_worst_is_the_last_that_is_there() -> None:
    _, groups = present_and_absent()
    assert groups.winner(groups.policy).joints.tolist() == [1.0, 1.0]
    assert groups.loser(groups.policy).joints.tolist() == [2.0, 3.0]
    assert groups.margin().tolist() == pytest.approx([0.5, 0.8])
    advantages = groups.advantages()
    assert advantages[0].tolist() == pytest.approx([1.0, -1.0, 0.0])
    assert advantages[1].mean().item() == pytest.approx(0.0, abs=1e-6)
    assert advantages[1].square().mean().item() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("name", ["group", "listwise"])
def test_absent_hypotheses_have_no_gradient(name: str) -> None:
    present, groups = present_and_absent()
    joints = groups.policy.joints.clone().requires_grad_()
    given_errors = Comparison(DenoisingError(joints, torch.zeros(2, 3)), groups.reference, groups.scores, present)
    PREFERENCES[name].loss(given_errors, AlignConfig()).loss.backward()
    assert joints.grad is not None
    assert torch.isfinite(joints.grad).all()
    assert ((joints.grad != 0) == present).all()
