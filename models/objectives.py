"""What training minimises: the denoising error, and the scorer's losses.

Sources: ScoreHypo (CVPR 2024, section 3.3) for the rank loss; EDM (Karras et al., 2022,
table 1) for the weight of the denoising error. How a policy learns from preferences stands in `models/preferences`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.diffusion import JOINT_SIZE
from schemas.config.networks import TWISTS

TWIST_SIZE = TWISTS * 2


class DenoisingError(NamedTuple):
    """Mean squared error of one denoising step, joints and twists apart: each (N,)."""

    joints: Tensor
    twists: Tensor
    missed: Tensor | None = None
    """(N, 133) predicted less target, times the root of its weight: what the errors are mean squares of; if wanted."""

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Joints and twists."""
        return self.joints, self.twists

    @property
    def total(self) -> Tensor:
        """Joints and twists added, (N,)."""
        return self.joints + self.twists


def denoising_error(
    predicted: Tensor,
    target: Tensor,
    weight: Tensor | float = 1.0,
    dtype: torch.dtype | None = None,
    missed: bool = False,
) -> DenoisingError:
    """Squared error between (N, 133) vectors (noise, or scaled poses), averaged over items and coordinates.

    `weight` multiplies the squared error: (N, 1), for instance `edm_weight` when the vectors are poses, or (N, 133),
    for instance zeros where a label has nothing to say. What has weight zero counts in the average all the same. The
    average is taken in `dtype` (default: that of the vectors). `missed` says whether the difference itself is wanted as
    well.
    """
    difference = predicted - target
    squared = difference.square() * weight
    wanted = difference * weight**0.5 if missed else None
    joints, twists = (part.mean(1, dtype=dtype) for part in (squared[:, :JOINT_SIZE], squared[:, JOINT_SIZE:]))
    return DenoisingError(joints, twists, wanted)


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """1/sigma_data² + 1/sigma²: makes the pose error of EDM's network weigh alike at every noise level."""
    return 1.0 / sigma_data**2 + 1.0 / sigma.square()


def squared_error(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """(N,) squared error between (N, ...) arrays, summed over all but the first dimension under a `weight` alike."""
    return ((predicted - target).square() * weight).flatten(1).sum(1)


def rank_loss(scores: Tensor, errors: Tensor, sigma: float, published: bool = False) -> Tensor:
    """Pairwise rank loss (B,): raw `scores` (B, M) should order hypotheses by falling `errors` (B, M).

    For each pair of hypotheses, cross-entropy between sigmoid(sigma * score difference) and "which one has the smaller
    error", summed over pairs. Equal errors are ordered by their place, as published.

    The `published` loss takes the logarithm of a rounded sigmoid: it differs in the fifth digit, and a pair that is far
    in the wrong order costs 100 at most and teaches nothing.
    """
    rank = torch.argsort(torch.argsort(-errors, dim=1, stable=True), dim=1)
    difference = scores[:, :, None] - scores[:, None, :]
    better = (rank[:, :, None] > rank[:, None, :]).to(scores.dtype)
    if published:
        pairs = F.binary_cross_entropy(torch.sigmoid(sigma * difference), better, reduction="none")
    else:
        pairs = F.binary_cross_entropy_with_logits(sigma * difference, better, reduction="none")
    return torch.triu(pairs, diagonal=1).sum((1, 2))


def error_to_score(errors: Tensor, best_mm: float, worst_mm: float) -> Tensor:
    """Error in mm -> score in [0, 1]: 1 at or below `best_mm`, 0 at or above `worst_mm`, straight in between."""
    return ((worst_mm - errors) / (worst_mm - best_mm)).clamp(0.0, 1.0)


BEST_MM = 10.0
"""Error in mm from which on a hypothesis could not be better, as published."""
WORST_MM: Mapping[str, float] = {"mpvpe": 300.0, "pa_mpvpe": 150.0, "mpjpe": 300.0, "pa_mpjpe": 150.0}
"""Errors that HMR-Scorer was trained on, and for each the mm from which on a hypothesis could not be worse."""


class ScorerLoss(NamedTuple):
    """HMR-Scorer's losses, by the error that they look at."""

    rank: dict[str, Tensor]
    """Rank loss, averaged over images; the released training minimises the sum of the four and nothing else."""
    score: dict[str, Tensor]
    """Mean squared difference between the score and the score of the error; the released code has it a hundredfold."""


def scorer_loss(
    raw: Tensor,
    errors_mm: Mapping[str, Tensor],
    *,
    rank_sigma: float = 5.0,
    sharpness: float = 5.0,
    best_mm: float = BEST_MM,
    worst_mm: Mapping[str, float] = WORST_MM,
    rounded: bool = True,
    weight: Tensor | None = None,
) -> ScorerLoss:
    """The losses of raw scores (B, M) of hypotheses whose errors (B, M) `errors_mm` holds by name; as published.

    Args:
        rank_sigma: factor on a difference of raw scores; sharpness: on a raw score before the sigmoid.
        best_mm, worst_mm: errors whose score is 1, and 0.
        rounded: `rank_loss` as published.
        weight: (B,) of each image in the means, which are over all of them.
    """
    rank, squared = {}, {}
    for name, errors in errors_mm.items():
        rank[name] = _mean_of(rank_loss(raw, errors, rank_sigma, published=rounded), weight)
        # after the rank loss: gradients add up in the order of the terms, and trainings keep their bits
        score = torch.sigmoid(sharpness * raw)
        squared[name] = _mean_of((score - error_to_score(errors, best_mm, worst_mm[name])).square(), weight)
    return ScorerLoss(rank, squared)


def _mean_of(values: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of (B, ...) over all, images weighted."""
    if weight is None:
        return values.mean()
    return (values * weight.view(-1, *(1 for _ in values.shape[1:]))).mean()
