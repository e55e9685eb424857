"""Supervised fine-tuning on the winners: rejection sampling, or the best of n, as a training.

    sft  L of the winner

Hazard: a winner is the best of what the policy draws anyway, so the most that can be gained is what selection gains:
the mean error of winners against that of all. The spread of the hypotheses shrinks with it, and their expected error
falls even where winners are drawn at random. A control, more than a method.
"""

from models.preferences.comparison import Comparison, PreferenceLoss
from schemas.config.training import AlignConfig


def winners_alone(pairs: Comparison, config: AlignConfig) -> PreferenceLoss:
    """The winners' own denoising error. No reference is asked."""
    return PreferenceLoss(pairs.mean(pairs.winner(pairs.policy).total, sure=False))
