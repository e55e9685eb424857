"""Diffusion-DPO (Wallace et al., CVPR 2024, eq. 14; ADHMR, eq. 6-9), and the same with an anchor.

    dpo           softplus(-beta / 2 * (d of the loser - d of the winner))
    anchored_dpo  the same + anchor * L of the winner

Hazard: DPO alone rewards the distance between the two errors, not a small one. It can fall although winners get less
likely, as long as losers do so faster, and what the policy knew of other data goes with it. The anchor, as DPO-Positive
(Pal et al., 2024) has one, and replay (`align.replay`) stand against that; watch `winner_change`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.objectives import DenoisingError
from models.preferences.comparison import Comparison, Preference, PreferenceLoss
from schemas.config.training import AlignConfig


def dpo(
    policy_winner: DenoisingError,
    policy_loser: DenoisingError,
    reference_winner: DenoisingError,
    reference_loser: DenoisingError,
    beta: float | Tensor,
) -> Preference:
    """Diffusion-DPO as published: softplus(beta/2 * change of (winner error - loser error)), pair by pair (N,).

    Joints and twists have a term each; the two are summed. `beta` is a number, or (N,).

    Winner and loser must share noise and timestep, and policy and reference the noisy pose.
    """
    loss = torch.zeros_like(policy_winner.joints)
    errors = (policy_winner, policy_loser, reference_winner, reference_loser)
    for winner, loser, winner_before, loser_before in zip(*(error.parts for error in errors), strict=True):
        loss = loss + F.softplus(0.5 * beta * ((winner - loser) - (winner_before - loser_before)))
    return Preference(loss, policy_winner.total - reference_winner.total, policy_loser.total - reference_loser.total)


def plain_dpo(pairs: Comparison, config: AlignConfig) -> PreferenceLoss:
    """DPO as published, averaged over the pairs."""
    policy, reference, beta = pairs.policy, pairs.reference(), pairs.strength(config.beta)
    preference = dpo(pairs.winner(policy), pairs.loser(policy), pairs.winner(reference), pairs.loser(reference), beta)
    return PreferenceLoss(pairs.mean(preference.loss), preference)


def anchored_dpo(pairs: Comparison, config: AlignConfig) -> PreferenceLoss:
    """DPO and `anchor` times the winners' own denoising error, which keeps it from making both sides worse."""
    plain = plain_dpo(pairs, config)
    return plain._replace(loss=plain.loss + config.anchor * pairs.mean(pairs.winner(pairs.policy).total))
