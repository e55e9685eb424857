"""Which people a training draws from, and how often: splits of ingests, with a weight for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from schemas.ids import StageKey, Target
from tasks.rows.part import Part


@dataclass(frozen=True, eq=False)
class Chances:
    """Of each of N rows the chance to be the next that is drawn; they add up to one."""

    each: np.ndarray
    """(N,)"""

    def among(self, rows: np.ndarray | slice) -> "Chances":
        """Of these rows, where no other is drawn."""
        some = self.each[rows]
        return Chances(some / some.sum())

    def draw(self, draw: np.random.Generator, count: int) -> np.ndarray:
        """(count,) rows, each without regard to the others: the very ones that `Generator.choice` draws by chances,
        which goes over all of them for every draw."""
        rows: np.ndarray = self._reached.searchsorted(draw.random(count), side="right")
        return rows

    @cached_property
    def _reached(self) -> np.ndarray:
        """(N,) the chance of each row or one before it."""
        reached = self.each.cumsum()
        return reached / reached[-1]


class Mix(NamedTuple):
    """Splits of ingests. A draw takes each in proportion to its weight, whatever its size; of one split, and of ingests
    without a split named, every person alike."""

    ingests: tuple[StageKey, ...]
    targets: tuple[Target, ...]
    weights: tuple[float, ...] = ()
    part: Part | None = None
    """Of these splits; all of them if None."""

    def key(self) -> Any:
        """What counts towards the key of a stage that draws from it."""
        if self.part is not None:
            return {"of": self._replace(part=None).key(), "part": self.part}
        if len(self.targets) == 1:
            return str(self.targets[0])
        return [[str(target), weight] for target, weight in zip(self.targets, self.weights, strict=True)]

    def named_if_several(self, name: str) -> dict[str, Any]:
        """The same by a name, for a stage whose inputs decide what it draws from, but not in which proportions."""
        return {name: self._replace(part=None).key()} if len(self.targets) > 1 else {}

    def chances(self, people: Sequence[Target]) -> Chances | None:
        """Those of N people, who are of these splits; None: alike."""
        if len(self.targets) < 2:
            return None
        weights = dict(zip(self.targets, self.weights, strict=True))
        counts = {target: people.count(target) for target in self.targets}
        chances = np.array([weights[target] / counts[target] for target in people])
        return Chances(chances / chances.sum())


def draw_rows(draw: np.random.Generator, count: int, total: int, chances: Chances | None = None) -> np.ndarray:
    """`count` of `total` rows: different ones where there are that many; by chances, each without regard to others."""
    return draw.choice(total, count, replace=total < count) if chances is None else chances.draw(draw, count)
