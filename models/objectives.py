"""What training minimises: the denoising error, preference objectives on winner/loser pairs, and the scorer's losses.

Sources: ADHMR (ICML 2025, eq. 6-9) and Diffusion-DPO (Wallace et al., CVPR 2024, eq. 14) for the preference loss; KTO
(Ethayarajh et al., ICML 2024) and Diffusion-KTO (Li et al., NeurIPS 2024) for preferences without pairs; ScoreHypo
(CVPR 2024, sections 3.2 and 3.3) for the loss on labels and the rank loss; EDM (Karras et al., 2022, table 1) for the
weight of the denoising error.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.diffusion import JOINT_SIZE
from schemas.config.networks import TWISTS
from schemas.config.training import AlignConfig

TWIST_SIZE = TWISTS * 2


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

    `weight` multiplies the squared error: (N, 1), for instance `edm_weight` when the vectors are poses, or (N, 133),
    for instance zeros where a label has nothing to say. What has weight zero counts in the average all the same.
    """
    squared = (predicted - target).square() * weight
    return DenoisingError(squared[:, :JOINT_SIZE].mean(1), squared[:, JOINT_SIZE:].mean(1))


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """1/sigma_data² + 1/sigma²: makes the pose error of EDM's network weigh alike at every noise level."""
    return 1.0 / sigma_data**2 + 1.0 / sigma.square()


# Waits for step 9 of the plan: `paper` trains its base policy by this loss, as published.
class SmplLoss(NamedTuple):
    """The published loss on labelled crops: four numbers, each with its weight already on it."""

    uv: Tensor
    betas: Tensor
    joints: Tensor
    twists: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.uv + self.betas + self.joints + self.twists


def smpl_loss(
    uv_squared: Tensor,
    betas_squared: Tensor,
    error: DenoisingError,
    *,
    counted: Tensor | None = None,
    uv_weight: float = 40.0,
    betas_weight: float = 10.0,
    noise_weight: float = 1.0,
) -> SmplLoss:
    """ScoreHypo's loss of encoder and denoiser: sums over items and coordinates, averaged over the N crops.

    Args:
        uv_squared, betas_squared: (N,) summed squared errors of the encoder's estimate (`squared_error`).
        error: of the noise, its means over items and coordinates.
        counted: (N,) which crops count; the sum over them is divided by N all the same.
    """
    share = torch.ones_like(error.joints) if counted is None else counted.to(error.joints)
    share = share / len(share)
    return SmplLoss(
        uv_weight * (uv_squared * share).sum(),
        betas_weight * (betas_squared * share).sum(),
        noise_weight * JOINT_SIZE * (error.joints * share).sum(),
        noise_weight * TWIST_SIZE * (error.twists * share).sum(),
    )


def squared_error(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """(N,) squared error between (N, ...) arrays, summed over all but the first dimension under a `weight` alike."""
    return ((predicted - target).square() * weight).flatten(1).sum(1)


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


class PairErrors(NamedTuple):
    """Denoising errors (P,) of the two sides of P pairs, under the same noise and timestep."""

    winner: DenoisingError
    loser: DenoisingError


class PairLoss(NamedTuple):
    """What an objective makes of a batch of pairs."""

    loss: Tensor
    """What is minimised, a scalar."""
    preference: Preference | None = None
    """Its part that is measured against the reference, pair by pair."""


Reference = Callable[[], PairErrors]
"""Gives the reference's errors on the policy's noisy poses. An objective that doesn't call it costs no pass of it."""


def anchored_dpo(policy: PairErrors, reference: Reference, config: AlignConfig) -> PairLoss:
    """DPO and `anchor` times the winners' own denoising error, which keeps it from making both sides worse."""
    plain = plain_dpo(policy, reference, config)
    return plain._replace(loss=plain.loss + config.anchor * policy.winner.total.mean())


def plain_dpo(policy: PairErrors, reference: Reference, config: AlignConfig) -> PairLoss:
    """DPO as published, averaged over the pairs."""
    preference = dpo(*policy, *reference(), config.beta)
    return PairLoss(preference.loss.mean(), preference)


def winners_alone(policy: PairErrors, reference: Reference, config: AlignConfig) -> PairLoss:
    """Supervised training on the winners."""
    return PairLoss(policy.winner.total.mean())


class Objective(NamedTuple):
    """How a policy learns from pairs."""

    loss: Callable[[PairErrors, Reference, AlignConfig], PairLoss]
    from_losers: bool = True
    """Whether losers teach it something: else the encoder's own estimate isn't pushed away from them, either."""


PREFERENCES: Final[Mapping[str, Objective]] = {
    "anchored_dpo": Objective(anchored_dpo),
    "dpo": Objective(plain_dpo),
    "sft": Objective(winners_alone, from_losers=False),
}
"""By their names in the configuration (`align.objective`)."""


# Waits for step 9 of the plan: a row of PREFERENCES that learns without pairs.
def kto(policy: DenoisingError, reference: DenoisingError, desirable: Tensor, beta: float) -> Tensor:
    """KTO as published: single hypotheses that are desirable or not, no pairs.

    Gain is how much less the policy errs than the reference. What all hypotheses of the batch gain on average, if they
    do, is no merit of one of them and is taken off; the loss is 1 - sigmoid(beta * gain), or of the loss for an
    undesirable hypothesis.

    Args:
        policy, reference: errors (N,) on the same noisy poses.
        desirable: (N,) true for hypotheses to make likelier.

    Returns:
        (N, 2) losses of the joints and of the twists, in [0, 1].
    """
    gain = torch.stack([mine - theirs for mine, theirs in zip(reference, policy, strict=True)], dim=1)
    gain = gain - gain.mean(0).clamp_min(0).detach()
    sign = torch.where(desirable.bool(), 1.0, -1.0)[:, None]
    return 1 - torch.sigmoid(sign * beta * gain)


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
