"""The objectives by their names in the configuration (`align.objective`); docs/method.md explains them."""

from collections.abc import Mapping
from typing import Final

from models.preferences.comparison import Objective
from models.preferences.dpo import anchored_dpo, plain_dpo
from models.preferences.group import group_advantage
from models.preferences.hinge import hinge
from models.preferences.ipo import ipo
from models.preferences.kto import desirable_or_not
from models.preferences.listwise import listwise
from models.preferences.negative_aware import negative_aware
from models.preferences.sft import winners_alone
from models.preferences.winner_preserving import winner_preserving

PREFERENCES: Final[Mapping[str, Objective]] = {
    "anchored_dpo": Objective(anchored_dpo),
    "dpo": Objective(plain_dpo),
    "sft": Objective(winners_alone, from_losers=False, from_reference=False),
    "ipo": Objective(ipo),
    "hinge": Objective(hinge),
    "kto": Objective(desirable_or_not),
    "group": Objective(group_advantage, of_groups=True),
    "listwise": Objective(listwise, of_groups=True),
    "sdpo": Objective(winner_preserving, of_residuals=True),
    "nft": Objective(negative_aware, of_groups=True, of_residuals=True),
}
