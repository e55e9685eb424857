"""The training curves of a round, leg by leg, as they were noted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from infra.store import Store
from infra.tables import read
from tasks.report.facts import RoundFacts

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
