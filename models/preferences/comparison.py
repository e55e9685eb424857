"""What an objective learns from: hypotheses of a crop side by side, from the best to the worst, and what it gives.

Notation of the objectives: L is a hypothesis' denoising error under the policy, R under the reference, on the same
noisy pose; d = L - R its change. A hypothesis got likelier where d < 0, and -beta / 2 * d takes the place of DPO's
beta * log(policy / reference). Joints and twists have an error each, hence a term each, and the two terms are added.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from models.objectives import DenoisingError
from schemas.config.training import AlignConfig


class Preference(NamedTuple):
    """A preference loss and what to watch beside it."""

    loss: Tensor
    """(N,) loss of each comparison."""
    winner_change: Tensor
    """(N,) denoising error of the best, policy minus reference: above zero means that winners got less likely."""
    loser_change: Tensor
    """(N,) the same of the worst."""


class PreferenceLoss(NamedTuple):
    """What an objective makes of a batch."""

    loss: Tensor
    """What is minimised, a scalar."""
    preference: Preference | None = None
    """Its part that is measured against the reference, comparison by comparison."""


@dataclass(frozen=True)
class Comparison:
    """N comparisons of S hypotheses; those of one share crop, noise and timestep. A pair is one of two: winner, loser.

    The comparisons of a crop follow each other.
    """

    policy: DenoisingError
    """(N, S)"""
    reference: Callable[[], DenoisingError]
    """Gives the reference's errors (N, S) on the same noisy poses. Who doesn't call it, costs no pass of it."""
    scores: Tensor
    """(N, S), higher is better, none above the one before it."""
    present: Tensor | None = None
    """(N, S) bool: which there are. A crop with few hypotheses has none at the end, at least two before; None: all."""
    weight: Tensor | None = None
    """(N,) of the comparisons by their timesteps; None: all alike."""
    sureness: Tensor | None = None
    """(N,) in [0, 1): 2 p - 1, where p is the chance that the order is as the scores say; None: it is sure."""

    def strength(self, beta: float) -> float | Tensor:
        """`beta` of each comparison (N,), as SmPO-Diffusion has it: less where the order is less sure."""
        return beta if self.sureness is None else beta * self.sureness

    def mean(self, losses: Tensor, *, sure: bool = True) -> Tensor:
        """The weighted mean of losses (N,); `sure=False` where `sureness` has to weigh too, as no `strength` has it."""
        for weight in (self.weight, None if sure else self.sureness):
            losses = losses if weight is None else losses * weight
        return losses.mean()

    def winner(self, error: DenoisingError) -> DenoisingError:
        """(N,) of errors (N, S): those of the best hypotheses."""
        return _taken(error, lambda part: part[:, 0])

    def loser(self, error: DenoisingError) -> DenoisingError:
        """(N,) likewise those of the worst."""
        return _taken(error, lambda part: _worst(part, self.present))

    def margin(self) -> Tensor:
        """(N,) best score less worst."""
        return self.scores[:, 0] - _worst(self.scores, self.present)

    def changes(self, reference: DenoisingError) -> Tensor:
        """(N, S, 2): d of joints and twists."""
        return torch.stack([self.policy.joints - reference.joints, self.policy.twists - reference.twists], dim=-1)

    def seen(self, loss: Tensor, reference: DenoisingError) -> Preference:
        """A loss (N,) with what to watch beside it."""
        winner, loser = (of(self.policy).total - of(reference).total for of in (self.winner, self.loser))
        return Preference(loss, winner, loser)

    def advantages(self) -> Tensor:
        """(N, S) scores as distances from the group's mean in its standard deviations; 0 where all are equal or absent.

        Of two hypotheses: 1 and -1.
        """
        present = torch.ones_like(self.scores) if self.present is None else self.present.to(self.scores)
        count = present.sum(1, keepdim=True)
        centred = (self.scores - (self.scores * present).sum(1, keepdim=True) / count) * present
        spread = (centred.square().sum(1, keepdim=True) / count).sqrt()
        return torch.where(spread > 0, centred / spread.clamp_min(1e-12), 0.0)


def gain(comparison: Comparison, reference: DenoisingError, beta: float) -> Tensor:
    """(N, 2) of joints and twists of pairs: beta / 2 * (d of the loser - d of the winner)."""
    changes = comparison.changes(reference)
    return 0.5 * _each(comparison.strength(beta)) * (changes[:, 1] - changes[:, 0])


def rewards(comparison: Comparison, reference: DenoisingError, beta: float) -> Tensor:
    """(N, S, 2) of joints and twists: -beta / 2 * d."""
    return -0.5 * _each(_each(comparison.strength(beta))) * comparison.changes(reference)


class Objective(NamedTuple):
    """How a policy learns from preferences."""

    loss: Callable[[Comparison, AlignConfig], PreferenceLoss]
    from_losers: bool = True
    """Whether losers teach it something: else the encoder's own estimate isn't pushed away from them, either."""
    from_reference: bool = True
    """Whether it asks what the reference makes of the hypotheses, which costs as many passes again."""
    of_groups: bool = False
    """Whether it compares `group_size` hypotheses of a crop and not the two of a pair."""
    of_residuals: bool = False
    """Whether it looks at what predictions missed (`DenoisingError.missed`), not at errors alone."""


def _each(strength: float | Tensor) -> float | Tensor:
    return strength[..., None] if isinstance(strength, Tensor) else strength


def _worst(part: Tensor, present: Tensor | None) -> Tensor:
    """(N, ...) of (N, S, ...): what belongs to the last hypotheses that are present."""
    if present is None:
        return part[:, -1]
    return part[torch.arange(len(present), device=present.device), present.sum(1) - 1]


def _taken(error: DenoisingError, take: Callable[[Tensor], Tensor]) -> DenoisingError:
    missed = None if error.missed is None else take(error.missed)
    return DenoisingError(take(error.joints), take(error.twists), missed)
