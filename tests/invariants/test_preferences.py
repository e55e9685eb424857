"""What holds for every objective of preferences: its value where nothing has moved, its gradient, what two give."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, get_args

import pytest
import torch
from torch import Tensor

from models.objectives import DenoisingError
from models.preferences.comparison import Objective
from models.preferences.dpo import dpo, plain_dpo
from models.preferences.table import PREFERENCES
from models.preferences.winner_preserving import safe_shares
from schemas.config.training import AlignConfig, ObjectiveName
from tests.models.comparisons import compared, errors, invented

CONFIG: Final = AlignConfig(beta=3.0, anchor=0.25, pairs_per_crop=1, guard=10.0)
EACH = pytest.mark.parametrize("name", PREFERENCES)


def size(objective: Objective) -> int:
    return 4 if objective.of_groups else 2


def test_every_name_has_its_objective() -> None:
    assert tuple(PREFERENCES) == get_args(ObjectiveName)


@EACH
def test_the_table_says_who_asks_the_reference(name: str) -> None:
    objective = PREFERENCES[name]
    policy, reference, target, scores = invented(3, size(objective))
    asked: list[None] = []
    given = compared(policy, reference, target, scores)

    def ask() -> DenoisingError:
        asked.append(None)
        return given.reference()

    objective.loss(replace(given, reference=ask), CONFIG)
    assert bool(asked) is objective.from_reference


@EACH
def test_a_policy_that_is_its_reference_has_a_known_loss(name: str) -> None:
    objective = PREFERENCES[name]
    _, reference, target, scores = invented(3, size(objective))
    error = errors(reference, target).total
    expected: Mapping[str, float | Tensor] = {
        "anchored_dpo": 2 * math.log(2) + 0.25 * error[:, 0].mean(),
        "dpo": 2 * math.log(2),
        "sft": error[:, 0].mean(),
        "ipo": 2 / 4,
        "hinge": 2.0,
        "kto": 2 / 2,
        "group": 2 * math.log(2),
        "listwise": 2 * math.log(math.factorial(4)),
        "sdpo": 2 * math.log(2),
        "nft": error.mean(),
    }
    made = objective.loss(compared(reference, reference, target, scores), CONFIG)
    assert made.loss.item() == pytest.approx(float(expected[name]), rel=1e-12)
    if made.preference is not None:
        assert made.preference.winner_change.tolist() == made.preference.loser_change.tolist() == [0.0] * 3


@pytest.mark.parametrize("name", ["group", "listwise"])
@pytest.mark.parametrize("absent", [0, 2])
def test_two_hypotheses_give_dpo(name: str, absent: int) -> None:
    """The constant is 1, and what is not there says nothing."""
    policy, reference, target, scores = invented(3, 2 + absent)
    there = torch.arange(2 + absent).expand(3, -1) < 2
    present = there if absent else None
    made = PREFERENCES[name].loss(compared(policy, reference, target, scores, present), CONFIG)
    pairs = compared(policy[:, :2], reference[:, :2], target[:, :2], scores[:, :2])
    torch.testing.assert_close(made.loss, plain_dpo(pairs, CONFIG).loss)
    assert made.preference is not None
    torch.testing.assert_close(made.preference.loss, plain_dpo(pairs, CONFIG).preference.loss)  # type: ignore[union-attr]


@pytest.mark.parametrize("absent", [0, 2])
def test_two_hypotheses_give_half_of_what_nft_makes_of_a_winner_and_a_loser(absent: int) -> None:
    policy, reference, target, scores = invented(3, 2 + absent)
    present = torch.arange(2 + absent).expand(3, -1) < 2 if absent else None
    config = CONFIG.model_copy(update={"nft_mix": 0.3})
    made = PREFERENCES["nft"].loss(compared(policy, reference, target, scores, present), config)
    towards, away = (errors(reference + mix * (policy - reference), target).total for mix in (0.3, -0.3))
    torch.testing.assert_close(made.loss, 0.5 * (towards[:, 0] + away[:, 1]).mean())


STOPPED: Final = {"kto", "sdpo"}
"""Objectives through a part of which nothing is learned: their gradients aren't those of their values."""


@pytest.mark.parametrize("name", sorted(PREFERENCES.keys() - STOPPED))
@pytest.mark.parametrize("changes", [{}, {"margin_sharpness": 3.0}], ids=["plain", "weighed"])
def test_gradients_are_those_of_finite_differences(name: str, changes: dict[str, Any]) -> None:
    objective = PREFERENCES[name]
    policy, reference, target, scores = invented(2, size(objective))
    assert torch.autograd.gradcheck(
        lambda given: loss(objective, given, reference, target, scores, weighed=bool(changes)),
        (policy.requires_grad_(),),
        fast_mode=True,
    )


def loss(
    objective: Objective, policy: Tensor, reference: Tensor, target: Tensor, scores: Tensor, *, weighed: bool
) -> Tensor:
    made = compared(policy, reference, target, scores)
    if weighed:
        made = replace(made, weight=torch.tensor([0.5, 1.7]).double(), sureness=torch.tanh(made.margin()))
    return objective.loss(made, CONFIG).loss


def test_the_gradient_of_kto_takes_what_all_gain_for_given() -> None:
    """Where all lose nothing is taken off, and the gradient is that of the value."""
    policy, reference, target, scores = invented(2, 2)
    policy = target + 1.5 * (reference - target) + 0.1 * (policy - reference)
    assert (errors(policy, target).joints > errors(reference, target).joints).all()
    assert torch.autograd.gradcheck(
        lambda given: loss(PREFERENCES["kto"], given, reference, target, scores, weighed=True),
        (policy.requires_grad_(),),
        fast_mode=True,
    )


def test_the_gradient_of_sdpo_is_that_of_dpo_with_less_of_the_losers() -> None:
    """Of the value in which all but a fixed share of each loser's error is a constant."""
    policy, reference, target, scores = invented(3, 2)
    policy = losers_pull(policy, target)
    whole, frozen = errors(policy, target), errors(reference, target)
    pairs = compared(policy, reference, target, scores)
    config = CONFIG.model_copy(update={"beta": 0.1, "winner_reserve": 0.2})
    shares = safe_shares(pairs.winner(whole), pairs.loser(whole), 0.2)
    assert any(0 < share < 1 for part in shares for share in part)

    def value(given: Tensor) -> Tensor:
        now = compared(given, reference, target, scores)
        loser = now.loser(now.policy)
        held = [
            share * mine + (1 - share) * then
            for share, mine, then in zip(shares, loser.parts, pairs.loser(whole).parts, strict=True)
        ]
        fixed = loser._replace(joints=held[0], twists=held[1])
        return dpo(now.winner(now.policy), fixed, pairs.winner(frozen), pairs.loser(frozen), 0.1).loss.mean()

    given = policy.requires_grad_()
    assert torch.autograd.gradcheck(value, (given,), fast_mode=True)
    made = PREFERENCES["sdpo"].loss(compared(given, reference, target, scores), config).loss
    torch.testing.assert_close(made, value(given))
    torch.testing.assert_close(*(torch.autograd.grad(each, given)[0] for each in (made, value(given))))


def losers_pull(policy: Tensor, target: Tensor) -> Tensor:
    """Predictions whose losers miss as their winners do, only more: DPO's step away from losers costs winners dear."""
    missed = policy - target
    return target + torch.stack([missed[:, 0], 1.5 * missed[:, 0] + 0.3 * missed[:, 1]], dim=1)


@pytest.mark.parametrize("reserve", [0.0, 0.5])
def test_a_step_that_preserves_winners_does_not_raise_their_error(reserve: float) -> None:
    """In outputs: d winner = -g_w (g_w - share g_l) <= -reserve * |g_w|^2 wherever losers pull against it."""
    policy, reference, target, scores = invented(50, 2)
    pairs = compared(losers_pull(policy, target), reference, target, scores)
    winner, loser = pairs.winner(pairs.policy), pairs.loser(pairs.policy)
    assert winner.missed is not None
    assert loser.missed is not None
    for part, share in zip((slice(87), slice(87, None)), safe_shares(winner, loser, reserve), strict=True):
        of_winner, of_loser = winner.missed[:, part], loser.missed[:, part]
        step = -(of_winner * (of_winner - share[:, None] * of_loser)).sum(1)
        assert (step <= -reserve * of_winner.square().sum(1) + 1e-9).all()
        assert (share < 1).any()
        assert ((share == 1) | ((of_winner * of_loser).sum(1) > 0)).all()


@EACH
def test_a_lead_of_the_good_lowers_the_loss(name: str) -> None:
    """Better hypotheses nearer to their targets, worse ones farther, by a little."""
    objective = PREFERENCES[name]
    many = size(objective)
    _, reference, target, scores = invented(3, many)
    by = 0.05 * torch.linspace(1, -1, many, dtype=torch.float64)[:, None]
    ahead, behind = (
        objective.loss(compared(reference + sign * by * (target - reference), reference, target, scores), CONFIG)
        for sign in (1, -1)
    )
    assert ahead.loss < behind.loss
    if ahead.preference is not None:
        assert (ahead.preference.winner_change < 0).all()
        assert (ahead.preference.loser_change > 0).all()


@EACH
def test_weights_are_of_comparisons(name: str) -> None:
    """Weights of (2, 0) over two comparisons are the first alone; so it is with how sure the order is, at the limit."""
    objective = PREFERENCES[name]
    policy, reference, target, scores = invented(2, size(objective))
    first = objective.loss(compared(*(part[:1] for part in (policy, reference, target, scores))), CONFIG)
    both = replace(compared(policy, reference, target, scores), weight=torch.tensor([2.0, 0.0]).double())
    torch.testing.assert_close(objective.loss(both, CONFIG).loss, first.loss)
    sure = replace(compared(policy, reference, target, scores), sureness=torch.ones(2).double())
    torch.testing.assert_close(
        objective.loss(sure, CONFIG).loss, objective.loss(compared(policy, reference, target, scores), CONFIG).loss
    )
    unsure = replace(compared(policy, reference, target, scores), sureness=torch.tensor([1.0, 0.0]).double())
    given = compared(policy.requires_grad_(), reference, target, scores)
    made = objective.loss(replace(unsure, policy=given.policy), CONFIG.model_copy(update={"anchor": 0.0})).loss
    (gradient,) = torch.autograd.grad(made, policy)
    assert gradient[0].abs().max() > 0
    assert gradient[1].abs().max() == 0
