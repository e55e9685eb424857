"""Numbers as pages and terminals show them: with as many decimals as their unit deserves."""

import math
from typing import Final

_DECIMALS: Final = {"mm": 1, "%": 1, "s": 1, "none": 3}


def format_number(value: float | None, unit: str = "none") -> str:
    """A number without its unit, with as many decimals as the unit deserves: 65.4 mm, 0.391, 1,000 instances."""
    if value is None or math.isnan(value):
        return "not measured"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    decimals = 0 if unit == "count" else _DECIMALS.get(unit, 3)
    if decimals and 0 < abs(value) < 10**-decimals:
        decimals += 1
    text = f"{value:,.{decimals}f}"
    # A hyphen is too short for a minus, and a zero has no sign.
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "−")


def format_quantity(value: float | None, unit: str = "none") -> str:
    """A number with its unit, where it has one that is written."""
    text = format_number(value, unit)
    written = unit not in ("none", "count") and value is not None and not math.isnan(value)
    return f"{text}\u00a0{unit}" if written else text


def format_percent(value: float) -> str:
    """A change with its sign: −8.9 %, +0.4 %."""
    text = format_number(value, "%")
    if math.isnan(value):
        return text
    return f"{'+' if value > 0 and text.strip('0.') else ''}{text}\u00a0%"


def format_span(low: float | None, high: float | None, unit: str = "none") -> str:
    """An interval without its unit: [−9.4, −8.4]; empty where there is none."""
    if low is None or high is None:
        return ""
    return f"[{format_number(low, unit)}, {format_number(high, unit)}]"


def format_duration(seconds: float) -> str:
    """4.2 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 59.95:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}\u00a0min\u00a0{whole % 60:02d}\u00a0s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}\u00a0h\u00a0{minutes % 60:02d}\u00a0min"
