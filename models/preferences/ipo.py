"""IPO (Azar et al., AISTATS 2024, eq. 17): a fixed lead of the winner is aimed at, and no more.

    ipo  (gain - 1 / 2)^2,   gain = beta / 2 * (d of the loser - d of the winner)

That is the published loss, which draws gain / beta to 1 / (2 beta), times beta^2: a policy that is its reference then
has the same loss at every beta, and the weight of replay means the same. Where scores say how sure an order is
(`margin_sharpness`), the less sure pair weighs less; its lead stays.

Hazard: a pair that leads by more than 1 / beta in errors is drawn back. As the errors are differences of noisy numbers,
a large beta makes the square mostly noise.
"""

from models.preferences.comparison import Comparison, PreferenceLoss
from schemas.config.training import AlignConfig


def ipo(pairs: Comparison, config: AlignConfig) -> PreferenceLoss:
    """The squared distance of each pair's gain from one half."""
    reference = pairs.reference()
    changes = pairs.changes(reference)
    gain = 0.5 * config.beta * (changes[:, 1] - changes[:, 0])
    loss = (gain - 0.5).square().sum(1)
    return PreferenceLoss(pairs.mean(loss, sure=False), pairs.seen(loss, reference))
