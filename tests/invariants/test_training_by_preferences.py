"""Every objective trains the same, however its run is cut: resumed or straight, in one batch or in parts of it."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import Tensor

from models.lora import merged
from models.preferences.table import PREFERENCES
from schemas.config.training import AlignConfig
from tasks.engine.loop import Training
from tasks.engine.numerics import fixed_numerics
from tasks.engine.share import WHOLE
from tasks.train.align import AlignRecipe
from tests.tasks.train.alignment import STEPS, recipe, settings

pytestmark = pytest.mark.slow
WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    **{name: {"objective": name} for name in PREFERENCES},
    "weighed": {"margin_sharpness": 2.0, "timestep_power": 0.5},
    "moving reference": {"reference_decay": 0.5},
    "LoRA": {"lora_rank": 2, "encoder": 0.0},
}
"""All objectives, and each of the fields that go with any of them."""
EACH = pytest.mark.parametrize("way", WAYS)


def small(way: str, **changes: Any) -> AlignConfig:
    """A short alignment without what depends on a batch as a whole, or on rounding."""
    made = settings(
        fixed_statistics=True, replay=0.0, encoder_distillation=0.0, group_size=3, **{**WAYS[way], **changes}
    )
    return made.model_copy(update={"optimiser": made.optimiser.model_copy(update={"checkpoint_every": 2})})


def in_parts(config: AlignConfig, parts: int) -> AlignConfig:
    return config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"micro_batches": parts})})


Ran = tuple[Training, dict[int, Any], np.ndarray]


def run(config: AlignConfig) -> Ran:
    """A finished training, its checkpoints, and the losses of its steps."""
    states: dict[int, Any] = {}
    losses: list[float] = []

    def report(step: int, figures: Mapping[str, float], state: Any) -> None:
        losses.append(figures["loss"])
        if state is not None:
            states[step] = copy.deepcopy(state())

    training = Training(recipe(config), config.optimiser)
    with fixed_numerics(1):
        training.run(report)
    return training, states, np.array(losses)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def straight_runs() -> Callable[[str], Ran]:
    """The run of a way in one go and with whole batches, done once. Only to be read."""
    return cache(lambda way: run(small(way)))


@EACH
def test_a_resumed_run_ends_with_the_bits_of_a_straight_one(way: str, straight_runs: Callable[[str], Ran]) -> None:
    config = small(way)
    straight, states, _ = straight_runs(way)
    resumed = Training(recipe(config), config.optimiser)
    assert not same(resumed.averaged, straight.averaged), "it learns"
    resumed.resume(states[2])
    with fixed_numerics(1):
        resumed.run(lambda *heard: None)
    assert same(resumed.averaged, straight.averaged)
    assert same(resumed.recipe.model.state_dict(), straight.recipe.model.state_dict())


@EACH
def test_a_batch_in_parts_teaches_what_the_whole_does(way: str, straight_runs: Callable[[str], Ran]) -> None:
    (_, _, whole), (_, _, parts) = straight_runs(way), run(in_parts(small(way), 2))
    assert len(whole) == STEPS
    np.testing.assert_allclose(parts[0], whole[0], rtol=2e-5, atol=1e-6)
    # Adam divides a gradient by its size: of one that is nearly zero, rounding alone decides where its weight goes
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-6)


def test_each_objective_learns_something_of_its_own() -> None:
    gradients = {}
    for name in PREFERENCES:
        made = recipe(small(name, winner_reserve=0.99))
        loss, _ = made.loss(0, made.draw(0, np.random.default_rng(0), WHOLE))
        loss.backward()
        gradients[name] = torch.cat(
            [part.grad.flatten() for part in made.model.hyponet.parameters() if part.grad is not None]
        )
    for name, mine in gradients.items():
        assert mine.abs().max() > 0, name
        for other, theirs in gradients.items():
            assert name == other or not torch.allclose(mine, theirs, rtol=1e-3), (name, other)


def test_a_reference_moves_towards_the_policy_and_no_other_does() -> None:
    for decay, share in ((1.0, 0.0), (0.75, 0.25), (0.0, 1.0)):
        config = small("dpo", reference_decay=decay)
        made = recipe(config)
        policy, reference = (
            {name: value.clone() for name, value in of.state_dict().items()} for of in (made.model, made.reference)
        )
        made.move()
        for name, value in made.reference.state_dict().items():
            if not value.is_floating_point():
                continue  # how many batches a layer has seen
            torch.testing.assert_close(value, torch.lerp(reference[name], policy[name], share), msg=name)
        assert same(made.model.state_dict(), policy)
    frozen = recipe(small("dpo", encoder=0.0, reference_decay=0.5))
    before = {name: value.clone() for name, value in frozen.reference.state_dict().items()}
    frozen.move()
    moved = {name for name, value in frozen.reference.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("hyponet.") for name in moved)


def test_a_moving_reference_is_asked_anew_where_features_could_be_kept() -> None:
    """Only where the policy's encoder is frozen, the reference's stays as well."""
    plain = {"mirror": 0.5, **dict.fromkeys(("brightness", "contrast", "noise", "cutout"), 0.0)}
    for encoder, decay, kept in ((1.0, 1.0, True), (1.0, 0.5, False), (0.0, 0.5, True)):
        changes = {"keep_features": True, "augment": plain, "reference_decay": decay, "encoder": encoder}
        assert (recipe(small("dpo", **changes)).kept.reference is not None) == kept


def test_low_rank_additions_alone_are_trained_and_go_into_the_model() -> None:
    config = small("LoRA")
    before = recipe(config)
    training, _, losses = run(config)
    after = training.recipe.model.state_dict()
    changed = {name for name, value in before.model.state_dict().items() if not torch.equal(value, after[name])}
    assert changed
    assert all(".lora_proj." in name for name in changed)
    plain = merged(training.averaged)
    assert plain.keys() == before.reference.state_dict().keys()
    assert losses[0] == pytest.approx(run(small("LoRA", lora_rank=0))[2][0], rel=1e-6), "they are silent at first"
    drawn = before.draw(0, np.random.default_rng(0), WHOLE)
    averaged, merged_in = recipe(config), recipe(config.model_copy(update={"lora_rank": 0}))
    averaged.model.load_state_dict(training.averaged)
    merged_in.model.load_state_dict(plain)
    assert loss_of(averaged, drawn) == pytest.approx(loss_of(merged_in, drawn), rel=1e-5)
    assert loss_of(averaged, drawn) != pytest.approx(loss_of(before, drawn), rel=1e-5)


def loss_of(made: AlignRecipe, drawn: Any) -> float:
    return made.loss(0, drawn)[0].item()


@pytest.mark.parametrize("power", [-0.5, 1.0])
def test_timesteps_weigh_one_in_the_mean(power: float) -> None:
    """And by the power of their place."""
    made = recipe(small("sft", timestep_power=power))
    drawn = made.batch(made.draw(0, np.random.default_rng(0), WHOLE))
    total = made.model.config.diffusion.timesteps
    every = torch.arange(total)
    batch = replace(drawn, time=every)
    weight = made._comparison(batch, made._errors(made.model, made.model.encode(drawn.crops)[0], drawn)).weight
    assert weight is not None
    assert weight.mean().item() == pytest.approx(1.0, rel=0.05)
    ratio = weight[total - 1] / weight[total // 4]
    assert ratio.item() == pytest.approx(((total - 0.5) / (total // 4 + 0.5)) ** power, rel=1e-3)
