"""The pair strategies: how winners and losers are chosen among a person's hypotheses. docs/method.md compares them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from infra.noise import generator
from schemas.config.networks import JOINTS
from schemas.errors import named

IDENTICAL = "hypotheses identical"
NO_LABEL = "no label to win"


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
    chosen = np.empty((2, len(candidates.ids), pairs), np.int64)
    for row, (scores, poses) in enumerate(zip(candidates.scores, candidates.poses, strict=True)):
        worth = np.maximum(scores[:, None] - scores[None], 0) * distance(poses[:, None], poses[None])
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
    refusal: str = IDENTICAL
    """The reason of an instance for which it has no two hypotheses to choose."""


STRATEGIES: Final[Mapping[str, Strategy]] = {
    "top_bottom": Strategy(top_bottom, "best against worst hypothesis of each person, by score"),
    "random": Strategy(at_random, "two hypotheses of each person at random, whatever their scores", by_score=False),
    "crossed": Strategy(crossed, "each of a person's best hypotheses against each of the worst", disjoint=False),
    "disagreement": Strategy(disagreeing, "hypotheses of a person that scores and poses set farthest apart"),
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
