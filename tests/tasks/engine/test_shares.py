"""A step is the same batch whoever works on it: shares are parts of the whole, and many workers learn what one does."""

import copy
import gc
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from models.policy import Policy
from schemas.errors import ConfigError
from schemas.profiles import paper
from tasks.engine.ahead import _mapped
from tasks.engine.loop import Training, step_draw
from tasks.engine.numerics import fixed_numerics
from tasks.engine.share import WHOLE, Share
from tasks.train.align import AlignRecipe, DrawnPairs
from tasks.train.pairs import PreferencePairs
from tests.tasks import micro
from tests.tasks.train.alignment import poses, recipe, settings

STEPS, PEOPLE = 20, 80


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [each for one in fields(value) for each in tensors(getattr(value, one.name))] if is_dataclass(value) else []


@pytest.mark.parametrize("parts", [2, 4])
def test_shares_together_are_the_whole_batch(parts: int) -> None:
    made = recipe(settings(replay_images=4))

    def batch(share: Share) -> list[torch.Tensor]:
        return tensors(made.batch(made.draw(3, step_draw(0, 3)[0], share)))

    shared = [batch(Share(number, parts)) for number in range(parts)]
    for whole, *each in zip(batch(WHOLE), *shared, strict=True):
        torch.testing.assert_close(torch.cat(each), whole, rtol=0, atol=0)


def test_the_crops_whose_pairs_are_denoised_are_shared_by_themselves() -> None:
    made = recipe(settings(replay=0.0, denoised_crops=2, pairs_per_crop=2))
    whole, *shared = (made.draw(0, step_draw(0, 0)[0], share) for share in (WHOLE, Share(0, 2), Share(1, 2)))
    assert torch.equal(torch.cat([share.poses for share in shared]), whole.poses)
    assert torch.equal(torch.cat([share.crops[:1] for share in shared]), whole.crops[:2])
    assert torch.equal(torch.cat([share.crops[1:] for share in shared]), whole.crops[2:])


def test_what_can_not_be_shared_equally_is_told() -> None:
    with pytest.raises(ConfigError, match=r"A step has 4 of a kind .* can't be shared equally by 3 .ray.trainers"):
        Share(1, 3).places(4)


class DoubleRecipe(AlignRecipe):
    """The same in double precision."""

    def draw(self, step: int, draw: np.random.Generator, share: Share) -> DrawnPairs:
        drawn: DrawnPairs = _mapped(super().draw(step, draw, share), widened)
        return drawn


def widened(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.double() if numbers.is_floating_point() else numbers


def curves(micro_batches: int = 1, of: type[AlignRecipe] = AlignRecipe, steps: int = STEPS) -> np.ndarray:
    """(steps, figures) of a training as `paper` has it: fixed statistics, no dropout, 40 crops as they are."""
    config = paper().align
    changes = {"steps": steps, "report_every": 1, "micro_batches": micro_batches, "encoder_heads_learning_rate": None}
    sizes = {"batch_crops": 40, "denoised_crops": 40, "dropout": False}
    config = config.model_copy(update={"optimiser": config.optimiser.model_copy(update=changes), **sizes})
    torch.manual_seed(3)
    reference, draw = Policy(micro.CONFIG.policy), np.random.default_rng(0)
    if of is DoubleRecipe:
        reference = reference.double()
    size = micro.CONFIG.policy.condition.image_size
    crops = draw.integers(0, 256, (PEOPLE, size, size, 3), dtype=np.uint8)
    pairs = PreferencePairs(crops, np.arange(PEOPLE), poses(draw, PEOPLE), poses(draw, PEOPLE))
    made = of(config, copy.deepcopy(reference), reference, pairs, None, torch.device("cpu"))
    points: list[list[float]] = []
    with fixed_numerics(1):
        Training(made, config.optimiser).run(lambda step, seen, state: points.append(list(seen.values())))
    return np.array(points)


def member(rank: int, micro_batches: int, folder: str) -> None:
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    np.save(f"{folder}/curves-{rank}.npy", curves(micro_batches))
    gc.collect()  # what shares gradients goes before the group that it shares them with
    dist.barrier()  # and nobody before the others
    dist.destroy_process_group()


ACCURACY = 6
"""Place of that figure in the curves."""


def assert_same_curves(found: np.ndarray, expected: np.ndarray, within: float = 1e-5) -> None:
    # before its first update the policy is its reference: which of two nothings is less, rounding says
    found[0, ACCURACY] = expected[0, ACCURACY]
    assert expected[-1, 0] < (1 - 0.005 * len(expected)) * expected[0, 0], "it learns"
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=within)  # the loss; others may be near zero
    np.testing.assert_allclose(found, expected, rtol=within, atol=within)


@pytest.mark.slow
def test_micro_batches_learn_what_the_whole_does() -> None:
    assert_same_curves(curves(micro_batches=4), curves())


@pytest.mark.slow
def test_what_sets_them_apart_is_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """In double precision they agree as closely as that rounds."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # what the engine has in 32 bits on purpose
    assert_same_curves(curves(4, DoubleRecipe, 4), curves(1, DoubleRecipe, 4), within=1e-10)


@pytest.mark.slow
def test_two_workers_learn_what_one_does(tmp_path: Path) -> None:
    mp.spawn(member, (2, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (np.load(tmp_path / f"curves-{rank}.npy") for rank in range(2))
    np.testing.assert_array_equal(first, second)
    assert_same_curves(first, curves())
