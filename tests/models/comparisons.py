"""Comparisons of invented predictions, for tests of objectives."""

import torch
from torch import Tensor

from models.diffusion import POSE_SIZE
from models.objectives import DenoisingError, denoising_error
from models.preferences.comparison import Comparison


def compared(
    policy: Tensor, reference: Tensor, target: Tensor, scores: Tensor, present: Tensor | None = None
) -> Comparison:
    """Comparisons of what policy and reference predict (N, S, 133), where `target` (N, S, 133) was to be."""
    return Comparison(errors(policy, target), lambda: errors(reference, target), scores, present)


def errors(predicted: Tensor, target: Tensor) -> DenoisingError:
    """Errors (N, S) of predictions (N, S, 133), with what they missed."""
    found = denoising_error(predicted.reshape(-1, POSE_SIZE), target.reshape(-1, POSE_SIZE), missed=True)
    joints, twists, missed = (part.unflatten(0, predicted.shape[:2]) for part in found if part is not None)
    return DenoisingError(joints, twists, missed)


def invented(count: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predictions of a policy and of its reference, their targets, and falling scores; 64 bits."""
    draw = torch.Generator().manual_seed(seed)
    reference, target, step = (torch.randn(count, size, POSE_SIZE, generator=draw).double() for _ in range(3))
    scores = torch.rand(count, size, generator=draw).double().sort(1, descending=True).values
    return reference + 0.3 * step, reference, target, scores
