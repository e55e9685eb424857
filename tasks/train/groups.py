"""Groups as alignment learns from them: the hypotheses that the pairs of a crop are made of, each once, with scores.

A group needs no table and no column of its own: the rows of `pairs` hold poses and scores of both sides. So what a
pairing stage chose and what it left out holds for groups as well, and one that is in several pairs counts once.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from schemas.tables import LABEL_AS_SAMPLE
from tasks.train.pairs import PreferencePairs


class DrawnGroups(NamedTuple):
    """Groups of S hypotheses of each of C crops, the best first, and what isn't there at the end."""

    row: np.ndarray
    """(C, S) the pair that has the hypothesis."""
    side: np.ndarray
    """(C, S) 0: as its winner; 1: as its loser."""
    score: np.ndarray
    """(C, S) float32."""
    present: np.ndarray
    """(C, S) bool; two at least."""


@dataclass(frozen=True)
class Groups:
    """H hypotheses of C crops, crop by crop and the best of each first; of equal scores the earlier sample first."""

    row: np.ndarray
    """(H,) a pair that has it."""
    side: np.ndarray
    """(H,) 0: as its winner; 1: as its loser."""
    score: np.ndarray
    """(H,) float32; of one that no scorer was asked for, the share of its pairs that it won; a label's is the best."""
    first: np.ndarray
    """(C,) where a crop's begin."""
    count: np.ndarray
    """(C,) how many it has, two at least."""

    @staticmethod
    def of(pairs: PreferencePairs) -> "Groups":
        """Those of the crops that have pairs, in the order of their rows."""
        sides = 2 * len(pairs)
        crop, name = np.repeat(pairs.crop_row, 2), np.arange(sides)
        if pairs.samples is not None:
            name = pairs.samples.reshape(-1)
        score = pairs.known_scores().reshape(-1).astype(np.float64)
        order = np.lexsort((name, crop))
        begins = np.flatnonzero(np.diff(crop[order], prepend=-1) | np.diff(name[order], prepend=np.iinfo(np.int32).min))
        once, total = order[begins], np.diff(begins, append=sides)
        score = np.add.reduceat(score[order], begins) / total
        _, place = np.unique(crop[once], return_inverse=True)
        if pairs.samples is not None:
            best = np.full(place.max() + 1, -np.inf)
            np.maximum.at(best, place, score)
            score = np.where(name[once] == LABEL_AS_SAMPLE, best[place], score)
        ranked = np.lexsort((name[once], name[once] != LABEL_AS_SAMPLE, -score, place))
        count = np.bincount(place)
        return Groups(
            once[ranked] // 2, once[ranked] % 2, score[ranked].astype(np.float32), np.cumsum(count) - count, count
        )

    def draw(self, crops: np.ndarray, size: int, draw: np.random.Generator) -> DrawnGroups:
        """`size` of the hypotheses of each of the crops (C,), which are places among those that have pairs.

        Different ones, any as likely as another; all of them where there are no more.
        """
        count = self.count[crops, None]
        width = max(size, int(self.count.max()))
        chances = np.where(np.arange(width) < count, draw.random((len(crops), width)), np.inf)
        chosen = np.sort(np.argsort(chances, axis=1, kind="stable")[:, :size], axis=1)
        present = chosen < count
        at = self.first[crops, None] + np.where(present, chosen, 0)
        return DrawnGroups(self.row[at], self.side[at], self.score[at], present)
