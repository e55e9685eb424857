"""Augmentation: what belongs together changes together, and nothing is left to chance."""

from dataclasses import replace

import numpy as np
import torch

from schemas.config.optimiser import AugmentConfig
from tasks.train.augment import Augmentation

_NOTHING = AugmentConfig(mirror=0.0, brightness=0.0, contrast=0.0, noise=0.0, cutout=0.0)


def _drawn(config: AugmentConfig, seed: int = 0, count: int = 8) -> Augmentation:
    return Augmentation.draw(config, np.random.Generator(np.random.Philox(key=seed)), count)


def test_nothing_asked_nothing_done() -> None:
    change = _drawn(_NOTHING)
    crops, uvd, twists = torch.rand(8, 3, 16, 16) * 2 - 1, torch.rand(8, 29, 3), torch.rand(8, 23, 2)
    assert torch.equal(change.crops(crops), crops)
    assert torch.equal(change.uvd(uvd), uvd)
    assert torch.equal(change.twists(twists), twists)


def test_what_only_mirrors_comes_to_the_same_as_all_changes_of_no_strength() -> None:
    change = _drawn(_NOTHING.model_copy(update={"mirror": 0.5}))
    crops = torch.rand(8, 3, 16, 16) * 2 - 1
    assert change.only_mirrors
    assert 0 < int(change.mirrored.sum()) < 8
    assert torch.equal(change.crops(crops), replace(change, only_mirrors=False).crops(crops))
    assert not _drawn(_NOTHING.model_copy(update={"noise": 0.1})).only_mirrors


def test_joints_move_with_the_mirrored_picture() -> None:
    change = _drawn(_NOTHING.model_copy(update={"mirror": 1.0}), count=1)
    crop = torch.full((1, 3, 16, 16), -1.0)
    crop[0, :, 4, 2] = 1.0  # where the left wrist is seen
    uvd = torch.zeros(1, 29, 3)
    uvd[0, 20] = torch.tensor([2.5 / 8 - 1, 4.5 / 8 - 1, 0.3])
    moved = change.uvd(uvd)
    row, column = (change.crops(crop)[0, 0] == 1).nonzero()[0].tolist()
    # In the mirrored picture the same hand is the right one.
    torch.testing.assert_close(moved[0, 21], torch.tensor([(column + 0.5) / 8 - 1, (row + 0.5) / 8 - 1, 0.3]))


def test_only_the_chosen_half_is_mirrored_also_for_many_hypotheses() -> None:
    change = _drawn(AugmentConfig(mirror=0.5), seed=3, count=64)
    uvd = torch.rand(64, 5, 29, 3)
    assert 10 < int(change.mirrored.sum()) < 54
    same = (change.uvd(uvd) == uvd).flatten(1).all(1)
    assert torch.equal(same, ~change.mirrored)


def test_values_stay_in_range_and_depend_on_the_draw_alone() -> None:
    crops = torch.rand(8, 3, 32, 32) * 2 - 1
    first, again, other = (_drawn(AugmentConfig(), seed).crops(crops) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.abs().max() <= 1.0


def test_a_rectangle_is_painted_over() -> None:
    change = _drawn(_NOTHING.model_copy(update={"cutout": 1.0}))
    crops = torch.full((8, 3, 64, 64), 0.123)
    painted = (change.crops(crops) != 0.123).any(1).float().mean((1, 2))
    assert (painted > 0).all()
    assert (painted < 0.15).all()
