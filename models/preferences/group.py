"""Group advantage: hypotheses of a crop count as far as they are better or worse than the crop's others.

    group  softplus(-beta / 2 * (mean of d over the worse - mean of d over the better)),  weighted by |A|

A is the score less the group's mean in the group's standard deviations, clipped at `advantage_clip` (GRPO, Shao et
al., 2024); the form is DGPO's (Luo et al., ICLR 2026, arXiv 2510.08425), whose log-sigmoid of advantage-weighted sums
this is with the weights of either side summing to one. Two hypotheses give DPO exactly.

Guarded: once a worse hypothesis' error has grown by `guard` times the reference's, it is pushed no further; the sigmoid
holds the whole; and a group of equal scores has no advantages, thus no gradient.

Hazard: standard deviations blow small differences of scores up to large ones. Where a scorer hardly tells hypotheses
apart, they are its noise, and the group has them in all its members where a pair has the ends alone.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.preferences.comparison import Comparison, PreferenceLoss
from schemas.config.training import AlignConfig


def group_advantage(groups: Comparison, config: AlignConfig) -> PreferenceLoss:
    """DPO between the advantage-weighted means of the better and of the worse hypotheses."""
    reference = groups.reference()
    advantage = groups.advantages().clamp(-config.advantage_clip, config.advantage_clip)[..., None]
    limit = config.guard * torch.stack([reference.joints, reference.twists], dim=-1)
    change = groups.changes(reference)
    change = torch.where(advantage < 0, torch.minimum(change, limit), change)
    gain = _mean(change, (-advantage).clamp_min(0)) - _mean(change, advantage.clamp_min(0))
    strength = groups.strength(config.beta)
    scale = strength[:, None] if isinstance(strength, Tensor) else strength
    loss = F.softplus(-0.5 * scale * gain).sum(1)
    return PreferenceLoss(groups.mean(loss), groups.seen(loss, reference))


def _mean(change: Tensor, weight: Tensor) -> Tensor:
    """(N, 2) of changes (N, S, 2) under weights (N, S, 1); zero where no weight is."""
    return (change * weight).sum(1) / weight.sum(1).clamp_min(1e-12)
