"""Diffusion-SDPO (Fu et al., 2025, arXiv 2511.03317): DPO whose losers push only as far as winners don't pay for it.

    sdpo  DPO's value; of its gradient, the loser's part is scaled by
          min(1, (1 - winner_reserve) * |g_w|^2 / <g_w, g_l>) where <g_w, g_l> > 0, else by 1

g_w and g_l are the gradients of the two errors by the network's output, what it missed. A step along g_w - s * g_l then
doesn't raise the winner's error, to first order and as far as outputs stand for weights: with `winner_reserve` above 0
it has to lower it. Joints and twists are scaled apart.

Hazard: the bound is one of outputs. Winner and loser pass through the same weights, which it knows nothing of, so the
winner's error may rise all the same; drift on other data isn't held at all.
"""

import torch
from torch import Tensor

from models.diffusion import JOINT_SIZE
from models.objectives import DenoisingError
from models.preferences.comparison import Comparison, PreferenceLoss
from models.preferences.dpo import dpo
from schemas.config.training import AlignConfig


def winner_preserving(pairs: Comparison, config: AlignConfig) -> PreferenceLoss:
    """DPO with the loser's gradient held."""
    reference = pairs.reference()
    winner, loser = pairs.winner(pairs.policy), pairs.loser(pairs.policy)
    shares = safe_shares(winner, loser, config.winner_reserve)
    held = DenoisingError(*(_held(part, share) for part, share in zip(loser.parts, shares, strict=True)))
    beta = pairs.strength(config.beta)
    preference = dpo(winner, held, pairs.winner(reference), pairs.loser(reference), beta)
    return PreferenceLoss(pairs.mean(preference.loss), preference)


@torch.no_grad()
def safe_shares(winner: DenoisingError, loser: DenoisingError, reserve: float) -> tuple[Tensor, Tensor]:
    """What of the losers' gradients (N,) may be kept, of joints and of twists: in [0, 1]."""
    assert winner.missed is not None
    assert loser.missed is not None
    shares = []
    for part in (slice(JOINT_SIZE), slice(JOINT_SIZE, None)):
        of_winner, of_loser = winner.missed[:, part], loser.missed[:, part]
        along = (of_winner * of_loser).sum(1)
        most = (1 - reserve) * of_winner.square().sum(1) / along
        shares.append(torch.where(along > 0, most.clamp(0, 1), 1.0))
    return shares[0], shares[1]


def _held(error: Tensor, share: Tensor) -> Tensor:
    """`error` as it is, with `share` of its gradient."""
    return share * error + (1 - share) * error.detach()
