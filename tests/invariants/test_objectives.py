"""Settings of the alignment that mean the same must train the same: equal loss curves, equal weights."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.policy import Policy
from schemas.config.training import AlignConfig
from schemas.errors import ConfigError
from tasks.engine.loop import Training
from tasks.engine.share import WHOLE
from tasks.train import data as module
from tasks.train.align import AlignRecipe
from tasks.train.data import timesteps, unit_noise
from tasks.train.pairs import PreferencePairs
from tests.tasks import micro
from tests.tasks.train.alignment import AS_THEY_ARE, CROPS, PAIRS, STEPS, random_pairs, recipe, settings


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are then always taken in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


Curves = dict[str, list[float]]


def trained(made: AlignRecipe, config: AlignConfig) -> tuple[Curves, dict[str, Tensor]]:
    """The curves over a few steps, and the weights at their end."""
    curves: Curves = {}

    def report(step: int, figures: Any, state: object) -> None:
        for name, value in figures.items():
            curves.setdefault(name, []).append(value)

    Training(made, config.optimiser).run(report)
    assert all(len(values) == STEPS for values in curves.values())
    return curves, made.model.state_dict()


def assert_trained_alike(
    one: tuple[Curves, dict[str, Tensor]], other: tuple[Curves, dict[str, Tensor]], tolerance: float = 0.0
) -> None:
    assert one[0].keys() == other[0].keys()
    for name, values in one[0].items():
        assert values == pytest.approx(other[0][name], rel=tolerance, abs=tolerance), name
    for name, weights in one[1].items():
        torch.testing.assert_close(weights, other[1][name], rtol=tolerance, atol=tolerance, msg=name)


def run(config: AlignConfig, pairs: PreferencePairs | None = None) -> tuple[Curves, dict[str, Tensor]]:
    return trained(recipe(config, pairs), config)


def test_anchored_dpo_without_its_anchor_is_dpo() -> None:
    plain = run(settings(objective="dpo", replay=0.0))
    assert_trained_alike(run(settings(objective="anchored_dpo", anchor=0.0, replay=0.0)), plain)
    # what the anchor does is seen, or the comparison above would say nothing
    assert run(settings(objective="anchored_dpo", anchor=1.0, replay=0.0))[0]["loss"] != plain[0]["loss"]


def test_no_weight_on_replay_is_no_replay() -> None:
    assert_trained_alike(run(settings(replay=0.0)), run(settings(replay_images=0)))


def test_anchored_dpo_that_hardly_prefers_is_training_on_winners() -> None:
    faint: dict[str, Any] = {
        "objective": "anchored_dpo",
        "anchor": 1.0,
        "beta": 1e-9,
        "replay": 0.0,
        "distillation_push": 0.0,
    }
    anchored, winners = run(settings(**faint)), run(settings(objective="sft", replay=0.0))
    assert np.array(anchored[0]["loss"]) - 2 * math.log(2) == pytest.approx(np.array(winners[0]["loss"]), rel=1e-4)
    assert anchored[0]["winner"] == pytest.approx(winners[0]["winner"], rel=1e-4)


def test_a_pair_with_itself_teaches_nothing() -> None:
    """Loss 2 log 2 at every step, and a gradient of nothing but rounding."""
    pairs = random_pairs()
    same = PreferencePairs(pairs.crops, pairs.crop_row, pairs.winner, pairs.winner)
    config = settings(objective="dpo", replay=0.0, encoder_distillation=0.0)
    curves, _ = run(config, same)
    assert curves["loss"] == pytest.approx([2 * math.log(2)] * STEPS, rel=1e-5)
    assert curves["winner_change"] == pytest.approx(curves["loser_change"], rel=1e-4)
    assert largest_gradient(recipe(config, same)) < 1e-4 * largest_gradient(recipe(config, pairs))


def test_dropout_in_the_policy_alone_sets_alike_networks_apart() -> None:
    """As published: the loss of a policy that is its reference then begins above 2 log 2, at the same for each run."""
    network = micro.CONFIG.policy.model_copy(
        update={"hyponet": micro.CONFIG.policy.hyponet.model_copy(update={"start_dropout": 0.25, "block_dropout": 0.1})}
    )
    first: dict[bool, float] = {}
    for drops in (False, True):
        torch.manual_seed(3)
        policy = Policy(network)
        config = settings(objective="dpo", beta=100.0, replay=0.0, encoder_distillation=0.0, dropout=drops)
        made = AlignRecipe(config, copy.deepcopy(policy), policy, random_pairs(), None, torch.device("cpu"))
        first[drops] = trained(made, config)[0]["loss"][0]
    assert first[False] == pytest.approx(2 * math.log(2), rel=1e-3)
    assert first[True] > 2 * math.log(2) + 0.01


def largest_gradient(made: AlignRecipe) -> float:
    loss, _ = made.loss(0, made.draw(0, np.random.default_rng(0), WHOLE))
    loss.backward()
    gradients = [weights.grad for weights in made.model.parameters() if weights.grad is not None]
    return max(gradient.abs().max().item() for gradient in gradients)


def test_a_frozen_encoder_stays_as_it_was_to_its_batch_norm_statistics() -> None:
    config = settings(encoder=0.0)
    made = recipe(config)
    before = copy.deepcopy(made.model.condition.state_dict())
    trained(made, config)
    for name, weights in made.model.condition.state_dict().items():
        assert torch.equal(weights, before[name]), name


def test_statistics_follow_the_crops_unless_they_are_fixed() -> None:
    def mean_of_the_stem(config: AlignConfig) -> tuple[Tensor, Tensor]:
        made = recipe(config)
        before = made.model.condition.state_dict()["backbone.stem.1.running_mean"].clone()
        return before, trained(made, config)[1]["condition.backbone.stem.1.running_mean"]

    assert torch.equal(*mean_of_the_stem(settings(fixed_statistics=True)))
    assert not torch.equal(*mean_of_the_stem(settings(fixed_statistics=False)))


def test_the_encoder_learns_of_pairs_through_its_own_estimate_or_through_the_denoiser() -> None:
    """`to_context` feeds the denoiser alone: a gradient that reaches it came through the denoiser."""

    def through_the_denoiser(config: AlignConfig) -> tuple[bool, bool]:
        made = recipe(config)
        loss, _ = made.loss(0, made.draw(0, np.random.default_rng(0), WHOLE))
        loss.backward()
        condition = made.model.condition
        return condition.to_context.weight.grad is not None, condition.backbone.stem[0].weight.grad is not None

    assert through_the_denoiser(settings(encoder_distillation=1.0, replay=0.0)) == (False, True)
    assert through_the_denoiser(settings(encoder_distillation=0.0, replay=0.0)) == (True, True)


def test_the_denoiser_learns_from_as_many_crops_as_it_is_told() -> None:
    """Winner and loser of each pair of these crops go through it, and nothing else without replay."""
    seen: list[int] = []
    for crops_of_it in (CROPS, 1):
        made = recipe(settings(denoised_crops=crops_of_it, replay=0.0))
        made.model.hyponet.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
        made.loss(0, made.draw(0, np.random.default_rng(0), WHOLE))
    assert seen == [2 * PAIRS, 2 * PAIRS // CROPS]
    with pytest.raises(ValidationError, match="denoised_crops=5 is more than batch_crops=4"):
        settings(denoised_crops=CROPS + 1)


def test_the_estimate_is_drawn_beyond_the_mean_winner_away_from_the_mean_loser() -> None:
    pairs = random_pairs()
    made = recipe(settings(distillation_push=0.5), pairs)
    preferred = made.preferred(np.arange(CROPS))
    for place, crop in enumerate(made.paired):
        mine = pairs.crop_row == crop
        winner, loser = pairs.winner[mine].mean(0), pairs.loser[mine].mean(0)
        np.testing.assert_allclose(preferred[place], winner + 0.5 * (winner - loser), rtol=1e-5, atol=1e-6)
    blind = PreferencePairs(pairs.crops, pairs.crop_row, pairs.winner, pairs.winner)
    winners_alone, of_blind = (
        recipe(config, given).preferred(np.arange(CROPS))
        for config, given in (
            (settings(objective="sft", distillation_push=0.5), pairs),
            (settings(distillation_push=0.5), blind),
        )
    )
    np.testing.assert_allclose(winners_alone, of_blind, atol=1e-6)


def test_an_unknown_objective_is_an_error_that_lists_those_there_are() -> None:
    unheard = settings().model_copy(update={"objective": "luck"})  # which no check of the configuration sees
    with pytest.raises(ConfigError, match="There is no objective 'luck'; there are anchored_dpo, dpo, sft"):
        recipe(unheard)


def test_a_frozen_encoder_sees_crops_as_they_are_but_for_the_mirror_and_stays() -> None:
    alike: dict[str, Any] = {"encoder": 0.0, "replay": 0.0}
    changed, plain = (
        settings(augment={**augment, "mirror": 0.5}, **alike)
        for augment in (AS_THEY_ARE, dict.fromkeys(AS_THEY_ARE, 0.4))
    )
    made = recipe(changed)
    before = copy.deepcopy(made.model.condition.state_dict())
    assert_trained_alike(trained(made, changed), run(plain), tolerance=1e-6)
    for name, weights in made.model.condition.state_dict().items():
        assert torch.equal(weights, before[name]), name


def test_the_order_of_pairs_does_not_matter_to_a_full_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs get the same noise and timestep here, so that they differ by their place alone."""

    def same_noise(draw: np.random.Generator, count: int) -> Tensor:
        return unit_noise(draw, 1).expand(count, -1)

    def same_time(draw: np.random.Generator, count: int, *others: Any) -> Tensor:
        return timesteps(draw, 1, *others).expand(count)

    monkeypatch.setattr(module, "unit_noise", same_noise)
    monkeypatch.setattr(module, "timesteps", same_time)
    pairs = random_pairs()
    order, crop_order = np.random.default_rng(2).permutation(PAIRS), np.random.default_rng(3).permutation(CROPS)
    shuffled = PreferencePairs(
        pairs.crops[crop_order],
        np.argsort(crop_order)[pairs.crop_row[order]],
        pairs.winner[order],
        pairs.loser[order],
    )
    config = settings(augment=AS_THEY_ARE)
    assert_trained_alike(run(config, shuffled), run(config, pairs), tolerance=1e-3)
    swapped = PreferencePairs(pairs.crops, pairs.crop_row, pairs.loser, pairs.winner)
    assert run(config, swapped)[0]["loss"] != pytest.approx(run(config, pairs)[0]["loss"], rel=1e-3)
