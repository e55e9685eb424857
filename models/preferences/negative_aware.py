"""DiffusionNFT (Zheng et al., ICLR 2026, arXiv 2509.16117): the policy imitates the good, its mirror image the bad.

    nft  r * |v+ - target|^2 + (1 - r) * |v- - target|^2
         v+ = (1 - nft_mix) * v_reference + nft_mix * v,   v- = (1 + nft_mix) * v_reference - nft_mix * v
         r  = 1/2 + 1/2 * clip(A, -1, 1),   A as of group advantage

v is what the network predicts. v- lies as far beyond the reference as v+ before it, so that drawing v- to a bad
hypothesis drives v away from it, by a regression that has a minimum. Two hypotheses give r = 1 and r = 0: half the sum
of a winner's and a loser's term. A policy that is its reference has the reference's mean error. What the paper calls
beta is `nft_mix`; its reference is the policy that drew the samples, renewed as training goes (`reference_decay`).

Hazard: the step grows with `nft_mix` and there is no beta: at the learning rates of DPO little happens in few steps.
Middling hypotheses (r = 1/2) pull to the reference.
"""

from torch import Tensor

from models.diffusion import JOINT_SIZE
from models.objectives import DenoisingError
from models.preferences.comparison import Comparison, PreferenceLoss
from schemas.config.training import AlignConfig


def negative_aware(groups: Comparison, config: AlignConfig) -> PreferenceLoss:
    """The mean over each group's hypotheses."""
    reference = groups.reference()
    good = 0.5 + 0.5 * groups.advantages().clamp(-1, 1)
    towards, away = (_error(groups.policy, reference, mix) for mix in (config.nft_mix, -config.nft_mix))
    each = good * towards + (1 - good) * away
    loss = each.mean(1) if groups.present is None else (each * groups.present).sum(1) / groups.present.sum(1)
    return PreferenceLoss(groups.mean(loss, sure=False), groups.seen(loss, reference))


def _error(policy: DenoisingError, reference: DenoisingError, mix: float) -> Tensor:
    """(N, S) of the prediction that goes `mix` of the way from the reference's to the policy's."""
    assert policy.missed is not None
    assert reference.missed is not None
    squared = (reference.missed + mix * (policy.missed - reference.missed)).square()
    return squared[..., :JOINT_SIZE].mean(-1) + squared[..., JOINT_SIZE:].mean(-1)
