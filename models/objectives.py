"""What training minimises: the denoising error, preference objectives on winner/loser pairs, and the scorer's losses.

Sources: ADHMR (ICML 2025, eq. 6-9) and Diffusion-DPO (Wallace et al., CVPR 2024, eq. 14) for the preference loss;
ScoreHypo (CVPR 2024, section 3.3) for the rank loss; EDM (Karras et al., 2022, table 1) for the weight of the
denoising error.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.diffusion import JOINT_SIZE


class DenoisingError(NamedTuple):
    """Mean squared error of one denoising step, joints and twists apart: each (N,)."""

    joints: Tensor
    twists: Tensor

    @property
    def total(self) -> Tensor:
        """Joints and twists added, (N,)."""
        return self.joints + self.twists


def denoising_error(predicted: Tensor, target: Tensor, weight: Tensor | float = 1.0) -> DenoisingError:
    """Squared error between (N, 133) vectors (noise, or scaled poses), averaged over items and coordinates.

    `weight` (N, 1) multiplies the squared error, for instance `edm_weight` when the vectors are poses.
    """
    squared = (predicted - target).square() * weight
    return DenoisingError(squared[:, :JOINT_SIZE].mean(1), squared[:, JOINT_SIZE:].mean(1))


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """1/sigma_data² + 1/sigma²: makes the pose error of EDM's network weigh alike at every noise level."""
    return 1.0 / sigma_data**2 + 1.0 / sigma.square()


class Preference(NamedTuple):
    """A preference loss and what to watch beside it."""

    loss: Tensor
    """(N,) loss of each pair."""
    winner_change: Tensor
    """(N,) denoising error of the winner, policy minus reference: above zero means that winners got less likely."""
    loser_change: Tensor
    """(N,) the same of the loser."""


def dpo(
    policy_winner: DenoisingError,
    policy_loser: DenoisingError,
    reference_winner: DenoisingError,
    reference_loser: DenoisingError,
    beta: float,
) -> Preference:
    """Diffusion-DPO as published: softplus(beta/2 * change of (winner error - loser error)).

    Joints and twists have a term each; the two are summed.

    Winner and loser must share noise and timestep, and policy and reference the noisy pose.
    """
    loss = torch.zeros_like(policy_winner.joints)
    for part in range(2):
        gap = policy_winner[part] - policy_loser[part]
        reference_gap = reference_winner[part] - reference_loser[part]
        loss = loss + F.softplus(0.5 * beta * (gap - reference_gap))
    return Preference(loss, policy_winner.total - reference_winner.total, policy_loser.total - reference_loser.total)


def rank_loss(scores: Tensor, errors: Tensor, sigma: float) -> Tensor:
    """Pairwise rank loss (B,): raw `scores` (B, M) should order hypotheses by falling `errors` (B, M).

    For each pair of hypotheses, cross-entropy between sigmoid(sigma * score difference) and "which one has the smaller
    error", summed over pairs. Equal errors are ordered by their place, as published.
    """
    rank = torch.argsort(torch.argsort(-errors, dim=1), dim=1)
    difference = scores[:, :, None] - scores[:, None, :]
    better = (rank[:, :, None] > rank[:, None, :]).to(scores.dtype)
    pairs = F.binary_cross_entropy_with_logits(sigma * difference, better, reduction="none")
    return torch.triu(pairs, diagonal=1).sum((1, 2))


def error_to_score(errors: Tensor, best_mm: float, worst_mm: float) -> Tensor:
    """Error in mm -> score in [0, 1]: 1 at or below `best_mm`, 0 at or above `worst_mm`, straight in between."""
    return ((worst_mm - errors) / (worst_mm - best_mm)).clamp(0.0, 1.0)
