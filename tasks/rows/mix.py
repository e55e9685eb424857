"""Which people a training draws from, and how often: splits of ingests, with a weight for each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from schemas.ids import StageKey, Target
from tasks.rows.part import Part


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

    def chances(self, people: Sequence[Target]) -> np.ndarray | None:
        """(N,) the chance of each of the people, who are of these splits, to be the next that is drawn; None: alike."""
        if len(self.targets) < 2:
            return None
        weights = dict(zip(self.targets, self.weights, strict=True))
        counts = {target: people.count(target) for target in self.targets}
        chances = np.array([weights[target] / counts[target] for target in people])
        total: np.ndarray = chances / chances.sum()
        return total


def draw_rows(draw: np.random.Generator, count: int, total: int, chances: np.ndarray | None = None) -> np.ndarray:
    """`count` of `total` rows: different ones where there are that many; by chances, each without regard to others."""
    return draw.choice(total, count, replace=chances is not None or total < count, p=chances)
