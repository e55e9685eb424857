"""A step of alignment: what it sees, which way it moves the errors, and that each of its terms has its weight."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import skeleton
from models.cameras import mirror_joints, mirror_twist
from models.objectives import edm_weight
from models.preferences.table import PREFERENCES
from tasks.engine.ahead import _mapped
from tasks.engine.loop import Training
from tasks.engine.share import WHOLE
from tasks.train.align import AlignRecipe
from tasks.train.align_batch import AlignBatch
from tasks.train.pairs import PreferencePairs
from tests.tasks.train.alignment import AS_THEY_ARE, CROPS, PAIRS, random_pairs, recipe, settings
from tests.waits import Waits

pytestmark = pytest.mark.slow

META = torch.device("meta")
PLAIN: dict[str, Any] = {"augment": AS_THEY_ARE}


def fixed_batch(made: AlignRecipe, seed: int = 0) -> AlignBatch:
    return made.batch(made.draw(0, np.random.default_rng(seed), WHOLE))


def figures(made: AlignRecipe, batch: AlignBatch) -> dict[str, float]:
    loss, parts = made.loss_of(batch)
    return {"loss": loss.item(), **{name: part.item() for name, part in parts.items()}}


def mirrored(pose: np.ndarray) -> np.ndarray:
    both = torch.from_numpy(pose)
    uvd = mirror_joints(both[:, :87].unflatten(1, (29, 3))).flatten(1)
    return torch.cat([uvd, mirror_twist(both[:, 87:].unflatten(1, (23, 2))).flatten(1)], dim=1).numpy()


@pytest.mark.parametrize("encoder", [0.0, 1.0], ids=["denoiser alone", "encoder too"])
@pytest.mark.parametrize("swapped", [False, True], ids=["as given", "swapped"])
def test_steps_on_fixed_pairs_lower_the_winners_error_and_raise_the_losers(encoder: float, swapped: bool) -> None:
    """Also when the other side is said to be the winner: nothing but the order of the pair decides."""
    config = settings(
        encoder, objective="dpo", replay=0.0, encoder_distillation=0.0, fixed_statistics=True, beta=1.0, **PLAIN
    )
    given = random_pairs()
    pairs = PreferencePairs(given.crops, given.crop_row, given.loser, given.winner) if swapped else given
    made = recipe(config, pairs)
    batch = fixed_batch(made)
    before = figures(made, batch)
    steps = config.optimiser.model_copy(update={"steps": 10, "learning_rate": 1e-3, "warmup_steps": 0})
    made.batch = lambda draw: batch  # type: ignore[method-assign]
    Training(made, steps).run(lambda *heard: None)
    after = figures(made, batch)
    assert after["winner"] < before["winner"]
    assert after["loser"] > before["loser"]
    assert after["winner_change"] < before["winner_change"]
    assert after["loser_change"] > before["loser_change"]


@pytest.mark.parametrize("weight", ["anchor", "encoder_distillation", "replay"])
def test_each_weight_enters_the_loss_linearly(weight: str) -> None:
    """loss(w) = rest + w * term, with the same term and rest for every w, and a term that isn't nothing."""
    losses = []
    for size in (1.0, 2.0, 4.0):
        made = recipe(settings(**{"objective": "anchored_dpo", weight: size, **PLAIN}))
        losses.append(figures(made, fixed_batch(made))["loss"])
    assert abs(losses[1] - losses[0]) > 1e-3
    assert losses[2] - losses[1] == pytest.approx(2 * (losses[1] - losses[0]), rel=1e-3)


@pytest.mark.parametrize(("drawn", "different"), [(CROPS, CROPS), (CROPS + 3, None)])
def test_no_crop_is_replayed_twice_in_a_step_unless_there_are_too_few(drawn: int, different: int | None) -> None:
    replayed = fixed_batch(recipe(settings(replay_images=drawn, **PLAIN))).replayed
    assert replayed is not None
    assert len(replayed.crops) == drawn
    seen = len(torch.unique(replayed.crops.flatten(1), dim=0))
    assert seen == different if different else seen < drawn


def test_the_loss_is_the_sum_of_what_its_curves_show() -> None:
    config = settings(objective="anchored_dpo", anchor=0.7, encoder_distillation=1.5, replay=0.0, **PLAIN)
    made = recipe(config)
    seen = figures(made, fixed_batch(made))
    whole = seen["preference"] + 0.7 * seen["winner"] + 1.5 * seen["estimate"]
    assert seen["loss"] == pytest.approx(whole, rel=1e-5)


def test_the_error_of_a_denoised_pose_is_weighed_by_its_noise_level() -> None:
    """EDM's weight, written out for winners and losers."""
    made = recipe(settings(objective="sft", replay=0.0, encoder_distillation=0.0, **PLAIN))
    batch = fixed_batch(made)
    with torch.no_grad():
        context = made.model.encode(batch.crops)[0]
        diffusion, time = made.model.diffusion, batch.time.repeat_interleave(2)
        clean = diffusion.scale(batch.poses[:, :87], batch.poses[:, 87:])
        noisy = diffusion.add_noise(clean, time, batch.noise.repeat_interleave(2, dim=0))
        missed = diffusion.denoise(made.model.hyponet, noisy, time, context).pose - clean
        weighed = missed.square() * edm_weight(diffusion.sigma(time), diffusion.config.sigma_data)
        total = weighed[:, :87].mean(1) + weighed[:, 87:].mean(1)
    seen = figures(made, batch)
    assert seen["winner"] == pytest.approx(total[0::2].mean().item(), rel=1e-4)
    assert seen["loser"] == pytest.approx(total[1::2].mean().item(), rel=1e-4)
    assert total[0::2].mean().item() != pytest.approx(total[1::2].mean().item(), rel=1e-2)


@pytest.mark.parametrize("changes", [{}, {"fixed_statistics": True}, {"encoder": 0.0}], ids=str)
def test_mirroring_a_step_is_mirroring_all_that_it_is_given(changes: dict[str, Any]) -> None:
    """Crops, winners, losers, weights and estimate's targets, for policy and reference alike."""
    plain = random_pairs()
    weight = np.random.default_rng(5).uniform(0.2, 1.0, (PAIRS, 133)).astype(np.float32)
    given = replace(plain, weight=weight)
    shown = torch.from_numpy(weight)
    sides = [
        part[:, list(swap), :].flatten(1)
        for part, swap in (
            (shown[:, :87].unflatten(1, (29, 3)), skeleton.MIRROR_JOINTS),
            (shown[:, 87:].unflatten(1, (23, 2)), skeleton.MIRROR_TWISTS),
        )
    ]
    by_hand = PreferencePairs(
        np.ascontiguousarray(given.crops[:, :, ::-1]),
        given.crop_row,
        mirrored(given.winner),
        mirrored(given.loser),
        torch.cat(sides, dim=1).numpy(),
    )
    seen = []
    for pairs, share in ((given, 1.0), (by_hand, 0.0)):
        made = recipe(
            settings(objective="anchored_dpo", replay=0.0, augment={**AS_THEY_ARE, "mirror": share}, **changes), pairs
        )
        seen.append(figures(made, fixed_batch(made)))
    assert seen[0] == pytest.approx(seen[1], rel=1e-4, abs=1e-6)
    not_mirrored = recipe(settings(objective="anchored_dpo", replay=0.0, augment=AS_THEY_ARE, **changes), given)
    assert figures(not_mirrored, fixed_batch(not_mirrored)) != pytest.approx(seen[0], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("changes", [{}, {"fixed_statistics": True}, {"encoder": 0.0}], ids=str)
def test_policy_and_reference_see_the_same_crops_under_the_same_statistics(changes: dict[str, Any]) -> None:
    """So that a policy that is its reference has the reference's errors to the last digit, however crops change."""
    made = recipe(settings(**changes))
    made.model.load_state_dict(made.reference.state_dict())
    before = {name: value.clone() for name, value in made.reference.state_dict().items() if "running" in name}
    for seed in range(3):
        seen = figures(made, fixed_batch(made, seed))
        assert seen["winner_change"] == pytest.approx(0.0, abs=1e-6 * seen["winner"])
        assert seen["loser_change"] == pytest.approx(0.0, abs=1e-6 * seen["loser"])
    after = made.reference.state_dict()
    assert before
    for name, value in before.items():
        assert torch.equal(value, after[name]), f"the reference's {name} moved"


def test_weights_of_joints_and_twists_are_those_of_their_squared_errors() -> None:
    """Twice the weight is twice the error; no weight is none, and pairs without weights have one everywhere."""
    config = settings(objective="sft", replay=0.0, encoder_distillation=0.0, **PLAIN)

    def error(weight: np.ndarray | None) -> float:
        made = recipe(config, replace(random_pairs(), weight=weight))
        return figures(made, fixed_batch(made))["winner"]

    ones = np.ones((PAIRS, 133), np.float32)
    assert error(ones) == error(None)
    assert error(2 * ones) == pytest.approx(2 * error(None), rel=1e-6)
    joints, twists = ones.copy(), ones.copy()
    joints[:, 87:] = 0
    twists[:, :87] = 0
    assert error(joints) + error(twists) == pytest.approx(error(None), rel=1e-5)
    assert 0 < error(twists) < error(None)


def test_a_pairs_own_weights_go_with_it() -> None:
    weight = np.repeat(np.arange(1, PAIRS + 1, dtype=np.float32)[:, None], 133, axis=1)
    made = recipe(settings(**PLAIN), replace(random_pairs(), weight=weight))
    batch = fixed_batch(made)
    for pair in range(len(batch.time)):
        (place,) = np.flatnonzero((made.pairs.winner == batch.poses[2 * pair].numpy()).all(1))
        assert torch.equal(batch.weight[pair], torch.from_numpy(weight[place]))


def test_a_batch_is_what_its_generator_draws_and_nothing_else() -> None:
    made = recipe(settings())
    first, again, other = (fixed_batch(made, seed) for seed in (4, 4, 5))

    def tensors(batch: AlignBatch) -> list[Tensor]:
        return [part for part in vars(batch).values() if isinstance(part, Tensor)]

    assert all(torch.equal(one, two) for one, two in zip(tensors(first), tensors(again), strict=True))
    assert not torch.equal(first.noise, other.noise)
    assert len(first.crops) == CROPS


def test_the_encoder_follows_the_estimates_target() -> None:
    """Steps on the estimate alone bring it nearer to the preferred poses."""
    config = settings(beta=1e-9, anchor=0.0, replay=0.0, encoder_distillation=3.0, fixed_statistics=True, **PLAIN)
    made = recipe(config)
    batch = fixed_batch(made)
    before = copy.deepcopy(figures(made, batch))
    made.batch = lambda draw: batch  # type: ignore[method-assign]
    steps = config.optimiser.model_copy(update={"steps": 20, "learning_rate": 1e-3, "warmup_steps": 0})
    Training(made, steps).run(lambda *heard: None)
    assert figures(made, batch)["estimate"] < before["estimate"]


@pytest.mark.parametrize("objective", PREFERENCES)
def test_no_step_waits_for_the_device(objective: str) -> None:
    """On the device `meta`, which computes nothing: neither on the way there nor on the way back."""
    made = recipe(settings(1.0, objective=objective, fixed_statistics=True, **PLAIN))
    batch = _mapped(fixed_batch(made), lambda tensor: tensor.to(META))
    for policy in (made.model, made.reference):
        policy.to(META)
    made.device = META
    made.loss_of(batch)  # tables go there once
    with Waits() as waits:
        made.loss_of(batch)[0].backward()
    assert waits.noted == []
