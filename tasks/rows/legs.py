"""The roles of a round's stages, where it has several legs: a leg after the first has its number behind them."""

import re
from typing import Final

_LEG: Final = re.compile(r"^(?:(?P<role>.*), )?leg (?P<number>\d+)$")


def role_in_leg(role: str, number: int) -> str:
    """As in a round without legs in the first leg, and named after the leg in the others."""
    if number == 1:
        return role
    return f"{role}, leg {number}" if role else f"leg {number}"


def leg_of(role: str) -> tuple[str, int]:
    """The role without the leg, and the leg: what `role_in_leg` was given."""
    found = _LEG.match(role)
    return (found["role"] or "", int(found["number"])) if found else (role, 1)
