"""KTO (Ethayarajh et al., ICML 2024; Diffusion-KTO, Li et al., NeurIPS 2024): hypotheses that are desirable or not.

    kto  1 - sigmoid(+-beta * (-d - z)),   z = max(0, mean of -d),   + for winners, - for losers

z is what all gain in common and no merit of one. KTO defines it for each input and estimates it over the batch; here
it is that of the crop's own hypotheses in the step, which is nearer to the definition and does not depend on how a
batch is shared by workers. Nothing is learned through z.

Hazard: a hypothesis far on the right or the wrong side teaches nothing, so a large beta stops early. The scale isn't
DPO's: beta has no 1/2, and useful values are ten to a hundred times larger.
"""

import torch
from torch import Tensor

from models.objectives import DenoisingError
from models.preferences.comparison import Comparison, PreferenceLoss
from schemas.config.training import AlignConfig


def kto(policy: DenoisingError, reference: DenoisingError, desirable: Tensor, beta: float | Tensor) -> Tensor:
    """KTO as published: single hypotheses that are desirable or not, no pairs.

    Args:
        policy, reference: errors (N, ...) on the same noisy poses; N hypotheses share a z.
        desirable: (N, ...) true for hypotheses to make likelier.
        beta: a number, or what multiplies as (N, ..., 2).

    Returns:
        (N, ..., 2) losses of the joints and of the twists, in [0, 1].
    """
    gain = torch.stack([theirs - mine for mine, theirs in zip(policy.parts, reference.parts, strict=True)], dim=-1)
    gain = gain - gain.mean(0).clamp_min(0).detach()
    sign = torch.where(desirable.bool(), 1.0, -1.0).to(gain)[..., None]
    return 1 - torch.sigmoid(sign * beta * gain)


def desirable_or_not(pairs: Comparison, config: AlignConfig) -> PreferenceLoss:
    """Winners are desirable, losers aren't; the mean over a pair's two sides."""
    reference, each = pairs.reference(), config.pairs_per_crop

    def of_crops(part: Tensor) -> Tensor:  # (N, 2) -> (K * 2, D): all hypotheses of a crop in a column
        return part.reshape(-1, each * 2).T

    policy, frozen = (DenoisingError(of_crops(of.joints), of_crops(of.twists)) for of in (pairs.policy, reference))
    strength = pairs.strength(config.beta)
    beta = of_crops(strength[:, None].expand(-1, 2))[..., None] if isinstance(strength, Tensor) else strength
    winners = torch.tensor([True, False], device=policy.joints.device).repeat(each)[:, None]
    loss = kto(policy, frozen, winners, beta).sum(-1).T.reshape(-1, 2).mean(1)
    return PreferenceLoss(pairs.mean(loss), pairs.seen(loss, reference))
