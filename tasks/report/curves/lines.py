"""The training curves of a round, leg by leg: as they were noted, and as panels of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.store import Store
from infra.tables import read
from tasks.report.content import Curve, Series
from tasks.report.facts import RoundFacts

_PANELS: Final = (
    (
        "Denoising error against the reference's",
        {"winner_change": "winner", "loser_change": "loser"},
        0.0,
        "Both rising means that the policy forgets; the winner's should stay near zero or fall.",
    ),
    ("Denoising error", {"winner": "winner", "loser": "loser"}, None, ""),
    ("Preference accuracy", {"accuracy": "accuracy"}, 0.5, "Share of the pairs in whose favour the policy has moved."),
    ("Preference loss", {"preference": "preference"}, None, "DPO's begins at log 2 for each of its two terms, 1.386."),
    ("Replay on labelled source", {"replay": "replay"}, None, ""),
    ("Loss", {"loss": "loss"}, None, ""),
)

WORDS: Final[Mapping[str, str]] = {
    "winner_change": "winner's denoising error against the reference's",
    "loser_change": "loser's denoising error against the reference's",
    "winner": "winner's denoising error",
    "loser": "loser's denoising error",
    "loser_change − winner_change": "margin of the denoising errors",
    "preference": "preference loss",
}
"""What the figures are called that the curve doctor looks at."""


class Line(NamedTuple):
    """A figure of a training over its steps."""

    steps: NDArray[np.number]
    """(S,) ascending."""
    values: NDArray[np.floating]
    """(S,)"""


@dataclass(frozen=True)
class LegCurves:
    """What the training of a leg has noted; a round without legs has one."""

    leg: int
    lines: Mapping[str, Line]
    """By the figure's name in the table `curves`."""


def leg_curves(store: Store, facts: RoundFacts) -> list[LegCurves]:
    """Of every leg that was trained, in their order."""
    found = []
    for number, leg in enumerate(facts.legs(), 1):
        key = leg.key("align" if facts.kind == "dpo" else "train_clean")
        if key is None:
            continue
        rows = read(store, "curves", stage_keys=[key]).sort_by("step")
        lines = {}
        for series in pc.unique(rows.column("series")).to_pylist():
            part = rows.filter(pc.equal(rows.column("series"), series))
            lines[series] = Line(part.column("step").to_numpy(), part.column("value").to_numpy())
        found.append(LegCurves(number, lines))
    return found


def panels(legs: Sequence[LegCurves]) -> list[Curve]:
    """The curves as the page has them: the legs one after the other, each from where the one before has ended."""
    starts, end = [], 0
    for leg in legs:
        starts.append(end)
        end += max((int(line.steps[-1]) + _pitch(line) for line in leg.lines.values() if len(line.steps)), default=0)
    shown = []
    for title, names, reference, note in _PANELS:
        series = [
            Series(words, leg.lines[name].steps + start, leg.lines[name].values, leg.leg if len(legs) > 1 else None)
            for name, words in names.items()
            for leg, start in zip(legs, starts, strict=True)
            if name in leg.lines
        ]
        if {one.name for one in series} == set(names.values()):
            shown.append(Curve(title, "none", series, reference, note, tuple(starts[1:])))
    return shown


def _pitch(line: Line) -> int:
    """Steps between two points of a line."""
    return int(line.steps[-1] - line.steps[-2]) if len(line.steps) > 1 else 1
