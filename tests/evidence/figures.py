"""One figure of several seeds: mean, Student's interval, smallest and largest, and how they are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean

from models.statistics import t_interval
from schemas.ids import Target
from tasks.report.measured import Metrics
from tasks.rows.metrics import Metric


@dataclass(frozen=True)
class OfSeeds:
    """A metric of each seed, with what the seeds say together."""

    values: tuple[float, ...]
    unit: str

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def ends(self) -> tuple[float, float]:
        """Student's 95 % interval of the mean over seeds; nan for one seed alone."""
        told = t_interval(self.values)
        return told.low, told.high

    @property
    def told(self) -> str:
        """The mean with its interval, as pages have it."""
        low, high = self.ends
        mean = number(self.mean, self.unit)
        return mean if isnan(low) else f"{mean} [{number(low, self.unit)}, {number(high, self.unit)}]"

    @property
    def spread(self) -> str:
        """The smallest and the largest value."""
        return f"{number(min(self.values), self.unit)}, {number(max(self.values), self.unit)}"


def of_seeds(found: Sequence[Metrics], name: str, role: str, target: Target) -> OfSeeds | None:
    """A metric over the seeds; None where one of them lacks it."""
    return together([metrics.get((name, role, target)) for metrics in found])


def together(metrics: Sequence[Metric | None]) -> OfSeeds | None:
    """The same of metrics, one of each seed."""
    known = [metric for metric in metrics if metric is not None]
    if not known or len(known) < len(metrics):
        return None
    return OfSeeds(tuple(metric.value for metric in known), known[0].unit)


def last_cells(metrics: Sequence[Metric | None]) -> tuple[str, str]:
    """What all seeds say together: mean with interval, and spread; empty where one lacks it."""
    figure = together(metrics)
    return ("", "") if figure is None else (figure.told, figure.spread)


def cell(metric: Metric | None) -> str:
    """One seed's value with its interval over people."""
    if metric is None:
        return "not measured"
    text = number(metric.value, metric.unit)
    if metric.low is None or metric.high is None:
        return text
    return f"{text} [{number(metric.low, metric.unit)}, {number(metric.high, metric.unit)}]"


def number(value: float, unit: str) -> str:
    """A value as pages have it."""
    if unit == "%":
        return f"{value:+.1f} %".replace("-", "−")
    if unit == "percentage points":
        return f"{value:+.1f}".replace("-", "−")
    return f"{value:.1f} mm" if unit == "mm" else f"{value:.3f}".replace("-", "−")


def line(*cells: str) -> str:
    """A row of a table."""
    return "| " + " | ".join(cells) + " |"
