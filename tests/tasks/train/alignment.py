"""A small alignment on invented pairs, for tests of what a step does."""

import copy
from typing import Any

import numpy as np
import torch

from models.policy import Policy
from schemas.config.training import AlignConfig
from tasks.rows.crops import LabelledCrops
from tasks.train.align import AlignRecipe
from tasks.train.pairs import PreferencePairs
from tests.tasks import micro

CPU = torch.device("cpu")
CROPS, PAIRS, STEPS = 4, 8, 4
AS_THEY_ARE = {"mirror": 0.0, "brightness": 0.0, "contrast": 0.0, "noise": 0.0, "cutout": 0.0}
"""Augmentation that leaves crops alone."""


def crops(draw: np.random.Generator) -> np.ndarray:
    size = micro.CONFIG.policy.condition.image_size
    return draw.integers(0, 256, (CROPS, size, size, 3), dtype=np.uint8)


def poses(draw: np.random.Generator, count: int) -> np.ndarray:
    return draw.uniform(-0.5, 0.5, (count, 133)).astype(np.float32)


def random_pairs() -> PreferencePairs:
    draw = np.random.default_rng(0)
    return PreferencePairs(crops(draw), np.arange(PAIRS) % CROPS, poses(draw, PAIRS), poses(draw, PAIRS))


def random_replay() -> LabelledCrops:
    draw = np.random.default_rng(1)
    uvd = draw.uniform(-0.5, 0.5, (CROPS, 29, 3)).astype(np.float32)
    twists = draw.uniform(-1, 1, (CROPS, 23, 2)).astype(np.float32)
    betas = draw.standard_normal((CROPS, 10), dtype=np.float32)
    return LabelledCrops(crops(draw), uvd, twists, betas)


def settings(encoder: float = 1.0, **changes: Any) -> AlignConfig:
    optimiser = micro.CONFIG.align.optimiser.model_copy(
        update={"steps": STEPS, "report_every": 1, "encoder_learning_rate": encoder}
    )
    small = {
        "optimiser": optimiser,
        "batch_crops": CROPS,
        "denoised_crops": CROPS,
        "pairs_per_crop": PAIRS // CROPS,
        "replay_images": 3,
    }
    return AlignConfig.model_validate({**micro.CONFIG.align.model_dump(), **small, **changes})


def recipe(config: AlignConfig, pairs: PreferencePairs | None = None) -> AlignRecipe:
    """The policy begins a little away from its reference, so that no term of the loss starts at zero."""
    torch.manual_seed(3)
    reference = Policy(micro.CONFIG.policy)
    policy = copy.deepcopy(reference)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.add_(0.02 * weights.std() * torch.randn_like(weights) if weights.numel() > 1 else 0)
    return AlignRecipe(config, policy, reference, pairs or random_pairs(), random_replay(), CPU)
