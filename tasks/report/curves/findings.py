"""What the curve doctor says: findings, each with the numbers that show it and the fields that change it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Row(NamedTuple):
    """A number that shows a finding."""

    name: str
    """The series of a curve, or the metric."""
    where: str
    """"steps 10 to 130", "wild/validation"."""
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = "none"


class Cure(NamedTuple):
    """A field of the configuration that changes it."""

    field: str
    """Dotted name, such as `align.beta`."""
    now: str
    """The round's own value."""
    advice: str
    """What to do with it, and why."""


@dataclass(frozen=True)
class Finding:
    """Something that is known to go wrong, and that these numbers show."""

    name: str
    meaning: str
    """What it means, in a sentence."""
    rows: Sequence[Row]
    cures: Sequence[Cure]


@dataclass(frozen=True)
class Diagnosis:
    """All that was looked for."""

    findings: Sequence[Finding] = ()
    clear: Sequence[str] = ()
    """Names of what was looked for and is not so."""
    unseen: Sequence[tuple[str, str]] = ()
    """Names of what could not be looked for, and why."""
