"""How the costs of a plan look: a line for each stage that would run, in ranges, and what the ranges come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.cost.rates import MACHINE
from flows.process.terminal import TextConsole, escape, plain_table

if TYPE_CHECKING:
    from flows.cost.estimate import Estimate, Range

_TIMES = (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, 172_800.0), ("days", 86_400.0, float("inf")))
"""Unit, its seconds, and up to how many seconds times are told in it."""
_SIZES = (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12))


def print_estimate(estimate: Estimate) -> None:
    """At most 80 characters wide."""
    out = TextConsole()
    on_gpu = any(cost.gpu_seconds is None or cost.gpu_seconds.most for cost in estimate.stages)
    out.print()
    table = plain_table("what it would take", "time", *(("GPU time",) if on_gpu else ()), "writes", "S3 requests", "by")
    for cost in (*estimate.stages, estimate.together):
        words = [duration(cost.seconds), *((duration(cost.gpu_seconds),) if on_gpu else ())]
        table.add_row(escape(cost.title), *words, size(cost.bytes), count(cost.requests), cost.by or "-")
    out.print(table)
    if estimate.together.by in ("store", "both"):
        out.print("store: as this store has seen it, on as many CPUs and GPUs as then")
    if estimate.together.by in ("table", "both"):
        out.print(f"table: as measured on {MACHINE}; `adhmr run` will tell")
    if estimate.unknown:
        out.print(f"not known, and in no sum: the time of {escape(', '.join(estimate.unknown))}")


def duration(seconds: Range | None) -> str:
    """14 to 20 s; 3 to 5 min; of two digits at most, as more would be made up."""
    if seconds is None:
        return "?"
    if seconds.most <= 0:
        return "-"
    unit, each, _ = next(one for one in _TIMES if seconds.most < one[2])
    return f"{_span(seconds.least / each, seconds.most / each)} {unit}"


def size(bytes: float | None) -> str:
    """72 MB."""
    if bytes is None:
        return "?"
    unit, each = next((one for one in _SIZES if bytes < 1000 * one[1]), _SIZES[-1])
    return f"{_number(bytes / each)} {unit}"


def count(requests: Range) -> str:
    """200 to 900."""
    return _span(requests.least, requests.most)


def _span(least: float, most: float) -> str:
    low, high = _number(least), _number(most)
    return high if low == high else f"{low} to {high}"


def _number(value: float) -> str:
    """Two digits, and no zero before a comma where there is less than one."""
    if value <= 0:
        return "0"
    if value < 0.95:
        return f"{value:.1g}"
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 9.95 else f"{float(f'{value:.2g}'):g}"
