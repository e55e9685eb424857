"""The pair strategies: how winners and losers are chosen among a person's hypotheses. docs/method.md compares them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from infra.noise import generator
from schemas.config.networks import JOINTS
from schemas.errors import ConfigError, named

IDENTICAL = "hypotheses identical"
NO_LABEL = "no label to win"
_ALIKE: Final = 1e-6
"""What heads differ by at least: where they say the same to the last bits, nothing is surer."""


@dataclass(frozen=True)
class Candidates:
    """N instances with M hypotheses each, of which pairs are to be made."""

    ids: Sequence[str]
    scores: np.ndarray
    """(N, M), higher is better."""
    order: np.ndarray
    """(N, M) hypotheses from the best score to the worst; of equal ones the earlier first."""
    poses: np.ndarray
    """(N, M, D) what tells hypotheses apart; 87 normalised uvd come first."""
    disagreement: np.ndarray | None = None
    """(N, M) standard deviation of the score over the scorer's heads; None of a scorer that has one."""

    def some(self, rows: np.ndarray) -> "Candidates":
        """Those at the places `rows`."""
        differ = None if self.disagreement is None else self.disagreement[rows]
        ids = [self.ids[row] for row in rows.tolist()]
        return Candidates(ids, self.scores[rows], self.order[rows], self.poses[rows], differ)


def top_bottom(candidates: Candidates, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The best against the worst, the second best against the second worst, ..."""
    return candidates.order[:, :pairs], candidates.order[:, ::-1][:, :pairs]


def at_random(candidates: Candidates, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two different ones, whatever their scores; the choice depends on the seed and the instance_id alone."""
    count = candidates.scores.shape[1]
    shuffled = np.stack([generator(seed, name, 0, "random pair").permutation(count) for name in candidates.ids])
    return shuffled[:, : 2 * pairs : 2], shuffled[:, 1 : 2 * pairs : 2]


def crossed(candidates: Candidates, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each of the k best against each of the k worst, k the root of `pairs`; best against worst first."""
    ends = min(math.isqrt(pairs), candidates.scores.shape[1] // 2)
    high, low = (part.reshape(-1) for part in np.mgrid[:ends, :ends])
    nearest = np.argsort(high + low, kind="stable")
    return candidates.order[:, high[nearest]], candidates.order[:, ::-1][:, low[nearest]]


def disagreeing(candidates: Candidates, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Those whose margin times the distance of their poses is largest: scores and poses both set them apart."""
    each = zip(candidates.scores, candidates.poses, strict=True)
    return _worth_most(
        (_margins(scores) * distance(poses[:, None], poses[None]) for scores, poses in each), len(candidates.ids), pairs
    )


def surest(candidates: Candidates, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of whose order the scorer is surest: whose margin is the most times what its heads differ by on the two.

    ConfigError where the scorer has one head.
    """
    if candidates.disagreement is None:
        raise ConfigError(
            "The pair strategy surest goes by how much the heads of the scorer differ, and these scores are of one "
            "head: train a scorer with scorer.score_heads above 1, or set another pair.strategy."
        )
    each = zip(candidates.scores, candidates.disagreement, strict=True)
    return _worth_most(
        (_margins(scores) / np.maximum(np.hypot(differ[:, None], differ[None]), _ALIKE) for scores, differ in each),
        len(candidates.ids),
        pairs,
    )


def _margins(scores: np.ndarray) -> np.ndarray:
    """(M, M) by how much the first scores above the second, of M; 0 where it doesn't."""
    return np.maximum(scores[:, None] - scores[None], 0)


def _worth_most(worths: Iterable[np.ndarray], people: int, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Winners and losers (N, pairs) that are worth most, no hypothesis twice; `worths` (M, M) of each of the N people,
    by winner and loser. Each is written to."""
    chosen = np.empty((2, people, pairs), np.int64)
    for row, worth in enumerate(worths):
        for place in range(pairs):
            winner, loser = np.unravel_index(np.argmax(worth), worth.shape)
            if winner == loser:  # nothing is worth anything: two of those that are left, for the filters to refuse
                winner, loser = np.flatnonzero(np.isfinite(worth).any(1))[:2]
            chosen[:, row, place] = winner, loser
            worth[[winner, loser]] = worth[:, [winner, loser]] = -np.inf
    return chosen[0], chosen[1]


def labels_alone(candidates: Candidates, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """No hypothesis wins: only labels do (`labels_that_win`)."""
    none = np.empty((len(candidates.ids), 0), np.int64)
    return none, none


class Strategy(NamedTuple):
    """A way to choose pairs."""

    choose: Callable[[Candidates, int, int], tuple[np.ndarray, np.ndarray]]
    """Candidates, K pairs of each instance, seed -> winners (N, up to K) and losers, places among the M hypotheses, the
    pairs that matter most first."""
    sentence: str
    """What it does, for the report."""
    by_score: bool = True
    """Whether a winner's score is to lie above its loser's: then `least_margin` counts."""
    disjoint: bool = True
    """Whether no hypothesis of an instance is to be in two pairs: then K is M / 2 at most."""
    by_heads: bool = False
    """Whether it asks what a scorer's heads differ by, so that it needs one with several."""
    refusal: str = IDENTICAL
    """The reason of an instance for which it has no two hypotheses to choose."""


STRATEGIES: Final[Mapping[str, Strategy]] = {
    "top_bottom": Strategy(top_bottom, "best against worst hypothesis of each person, by score"),
    "random": Strategy(at_random, "two hypotheses of each person at random, whatever their scores", by_score=False),
    "crossed": Strategy(crossed, "each of a person's best hypotheses against each of the worst", disjoint=False),
    "disagreement": Strategy(disagreeing, "hypotheses of a person that scores and poses set farthest apart"),
    "surest": Strategy(surest, "hypotheses of a person of whose order the scorer's heads are surest", by_heads=True),
    "label_wins": Strategy(labels_alone, "the label of each person against the worst hypotheses", refusal=NO_LABEL),
}
"""By their names in the configuration (`pair.strategy`) and in the column `strategy`."""


def strategy_named(name: str) -> Strategy:
    """The strategy of that name. Raises ConfigError, which lists them, for another one."""
    return named(STRATEGIES, name, "pair strategy")


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(...) mean distance of the joints of poses (..., D): u and v in half crop sides, d in metres."""
    apart = (one - other)[..., : JOINTS * 3]
    joints = apart.reshape(*apart.shape[:-1], apart.shape[-1] // 3, 3)
    return np.asarray(np.linalg.norm(joints, axis=-1).mean(-1))
