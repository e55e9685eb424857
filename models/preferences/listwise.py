"""Diffusion-LPO (Bai et al., 2025, arXiv 2510.01540): the whole order of a list, by Plackett and Luce.

    listwise  sum over i of  log(sum over j >= i of exp(r_j)) - r_i,   r = -beta / 2 * d,   best first

Each hypothesis is to be preferred to all below it. Two hypotheses give DPO exactly; a policy that is its reference has
log(S!) for each part.

Hazard: in the middle of a list a scorer errs most, and the middle weighs as much as the ends. Equal scores are ordered
by their place. S hypotheses cost S passes where a pair costs two.
"""

import torch

from models.preferences.comparison import Comparison, PreferenceLoss, rewards
from schemas.config.training import AlignConfig

_NOTHING = -1e30
"""In place of minus infinity, whose differences have no gradient."""


def listwise(groups: Comparison, config: AlignConfig) -> PreferenceLoss:
    """Minus the log-likelihood of each group's order."""
    reference = groups.reference()
    reward = rewards(groups, reference, config.beta)
    present = torch.ones_like(groups.scores, dtype=torch.bool) if groups.present is None else groups.present
    reachable = reward.masked_fill(~present[..., None], _NOTHING)
    rest = reachable.flip(1).logcumsumexp(1).flip(1)
    loss = torch.where(present[..., None], rest - reward, 0.0).sum((1, 2))
    return PreferenceLoss(groups.mean(loss), groups.seen(loss, reference))
