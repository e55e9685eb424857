"""The hinge of SLiC-HF (Zhao et al., 2023, eq. 1) on DPO's gain, as RSO (Liu et al., ICLR 2024) has it.

    hinge  max(0, 1 - gain),   gain = beta / 2 * (d of the loser - d of the winner)

A pair teaches with full force until its gain is 1, and nothing from there on.

Hazard: pairs that the scorer got wrong pull on with the force of the first step, however far the policy is from
following them. SLiC's own regularisation is a loss on labelled data: replay (`align.replay`) here.
"""

from models.preferences.comparison import Comparison, PreferenceLoss, gain
from schemas.config.training import AlignConfig


def hinge(pairs: Comparison, config: AlignConfig) -> PreferenceLoss:
    """What each pair's gain lacks of one."""
    reference = pairs.reference()
    loss = (1 - gain(pairs, reference, config.beta)).clamp_min(0).sum(1)
    return PreferenceLoss(pairs.mean(loss), pairs.seen(loss, reference))
