"""Figures as ratios: ways to do the same work, timed by turns in one process, beside the ceiling of a matrix product.

Times alone tell about the machine. What tells about the engine is how much longer a plain way takes in the same
minutes, and how near it comes to what the processor does when it only multiplies matrices. Imports torch and the
standard library alone, as it also runs where little else is installed.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch

Precision = Literal["float32", "bfloat16"]
Clock = Callable[[Callable[[], object]], float]
"""How long a call takes, in seconds."""
CEILING = {"cpu": (5200, 2048, 512), "cuda": (8192, 8192, 8192)}
"""Rows, columns and depth of the product: the feed-forward layer of 100 hypotheses, or what fills a GPU."""


@dataclass(frozen=True)
class Goal:
    """What a figure should reach."""

    measure: Literal["share", "faster", "part", "ms", "rate"]
    """`part`: of what the first way takes."""
    value: float

    def __str__(self) -> str:
        if self.measure == "share":
            return f"≥ {self.value:.0%} of the ceiling"
        if self.measure == "part":
            return f"≤ {self.value:.0%} of the first"
        return {"faster": f"≥ {self.value:g} ×", "ms": f"≤ {self.value:,g} ms", "rate": f"≥ {self.value:g} /s"}[
            self.measure
        ]


@dataclass(frozen=True)
class Way:
    """One way to do `units` of work by one call of `run`."""

    run: Callable[[], object]
    units: float = 1
    flop: float | None = None
    """Operations of a unit that the result needs, a multiplication and an addition as two."""
    precision: Precision = "float32"
    """Of the ceiling that it is held against."""
    published_ms: float | None = None
    """What the published code took for a unit, on another day."""
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True)
class Figure:
    """One line of a table."""

    group: str
    way: str
    unit: str
    ms: float
    """Median for a unit."""
    faster: float
    """How many times as long the first way of the group takes."""
    share: float | None = None
    """Of the ceiling's rate in the same turns."""
    published_ms: float | None = None
    goals: tuple[Goal, ...] = field(default=())

    def measured(self, goal: Goal) -> float | None:
        """The number that `goal` is about."""
        found = {"share": self.share, "faster": self.faster, "part": 1 / self.faster}
        return {**found, "ms": self.ms, "rate": 1000 / self.ms}[goal.measure]

    def meets(self, goal: Goal) -> bool:
        """Whether the goal is reached."""
        found = self.measured(goal)
        if found is None:
            return False
        return found <= goal.value if goal.measure in ("ms", "part") else found >= goal.value


class Measured(NamedTuple):
    """The figures of a group, and the ceilings (operations a second) of its turns by precision."""

    figures: list[Figure]
    ceilings: dict[Precision, float]


def cpu_seconds(run: Callable[[], object]) -> float:
    """Seconds of processor time that a call takes, of all threads: others on the machine don't count."""
    began = time.process_time()
    run()
    return time.process_time() - began


def wall_seconds(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def device_seconds(run: Callable[[], object]) -> float:
    """Seconds that a call takes with all that it gave the GPU to do."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(
    group: str,
    unit: str,
    ways: Mapping[str, Way],
    *,
    repeats: int = 5,
    clock: Clock = cpu_seconds,
    device: str = "cpu",
    precisions: Sequence[Precision] = (),
    shape: tuple[int, int, int] | None = None,
) -> Measured:
    """Time the ways by turns, `repeats` times over after a turn that only warms up; the first one is the plain one.

    With `precisions` the product of these is timed in every turn, of `shape` (default: by the device).
    """
    rows, columns, depth = shape or CEILING[device]
    products = {precision: _product(precision, device, rows, columns, depth) for precision in precisions}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    ceilings: dict[Precision, list[float]] = {precision: [] for precision in products}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            taken = clock(way.run)
            if turn:
                seconds[name].append(taken)
        for precision, product in products.items():
            taken = clock(product)
            if turn:
                ceilings[precision].append(taken)
    rates = {precision: 2 * rows * columns * depth / statistics.median(taken) for precision, taken in ceilings.items()}
    per_unit = {name: statistics.median(seconds[name]) / way.units for name, way in ways.items()}
    plain = next(iter(per_unit.values()))
    figures = []
    for name, way in ways.items():
        share = None
        if way.flop is not None and way.precision in rates:
            share = way.flop / per_unit[name] / rates[way.precision]
        taken = per_unit[name]
        figures.append(Figure(group, name, unit, 1000 * taken, plain / taken, share, way.published_ms, way.goals))
    return Measured(figures, rates)


def _product(precision: Precision, device: str, rows: int, columns: int, depth: int) -> Callable[[], object]:
    kind = torch.float32 if precision == "float32" else torch.bfloat16
    left = torch.randn(rows, depth, device=device, dtype=kind)
    right = torch.randn(depth, columns, device=device, dtype=kind)
    target = torch.empty(rows, columns, device=device, dtype=kind)
    return lambda: torch.mm(left, right, out=target)
