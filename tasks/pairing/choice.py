"""The choice of pairs: a strategy, or a mixture of two, and the filters that what it chose goes through."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infra.noise import generator
from schemas.config.stages import PairConfig
from schemas.tables import LABEL_AS_SAMPLE
from tasks.pairing.strategies import Candidates, distance, strategy_named

SCORES_EQUAL = "scores all equal"
MARGIN = "margin below limit"
NEAR = "poses nearer than limit"
CROWDED = "picture has its pairs"


@dataclass(frozen=True)
class ChosenPairs:
    """P pairs among N instances with M hypotheses each."""

    row: np.ndarray
    """(P,) which instance; ascending."""
    winner: np.ndarray
    """(P,) which of its M hypotheses; -1: its label."""
    loser: np.ndarray
    """(P,) which of its M hypotheses; never the winner."""
    strategy: np.ndarray
    """(P,) name of the strategy that chose it."""
    refused: dict[int, str]
    """Instance -> reason, for each instance without a pair."""

    def without(self, instances: Collection[int]) -> "ChosenPairs":
        """The same but for some instances, which have pairs of another kind."""
        refused = {row: why for row, why in self.refused.items() if row not in instances}
        return replace(self._some(~np.isin(self.row, sorted(instances))), refused=refused)

    def at_most(self, allowed: np.ndarray) -> "ChosenPairs":
        """Of each instance no more pairs than `allowed` (N,), the first ones."""
        first = np.searchsorted(self.row, self.row)
        none = {int(row): CROWDED for row in np.unique(self.row[allowed[self.row] == 0])}
        return replace(self._some(np.arange(len(self.row)) - first < allowed[self.row]), refused=self.refused | none)

    def _some(self, these: np.ndarray) -> "ChosenPairs":
        return replace(
            self,
            row=self.row[these],
            winner=self.winner[these],
            loser=self.loser[these],
            strategy=self.strategy[these],
        )


def ranks(scores: np.ndarray) -> np.ndarray:
    """The place (N, M) of each hypothesis by its score (N, M), 0 is best; of equal ones the earlier comes first."""
    return np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)


def choose_pairs(
    ids: Sequence[str],
    scores: np.ndarray,
    poses: np.ndarray,
    config: PairConfig,
    disagreement: np.ndarray | None = None,
) -> ChosenPairs:
    """Up to `pairs_per_instance` pairs of each instance, by the strategies that `config` names.

    Equal scores say nothing: where the strategy goes by score, a pair's margin must be above zero and at least
    `least_margin`. Hypotheses of a pair are at least `least_distance` apart. ConfigError for a strategy that there
    isn't, and for one that asks for a scorer with several heads where this has one.

    Args:
        ids: N instance_ids.
        scores: (N, M), M >= 2, higher is better.
        poses: (N, M, D), whatever tells hypotheses apart; of 133 numbers the first 87 are normalised uvd.
        disagreement: (N, M), what the scorer's heads differ by; None of a scorer that has one.
    """
    candidates = Candidates(ids, scores, np.argsort(-scores, axis=1, kind="stable"), poses, disagreement)
    if not config.other_share:
        return _chosen(candidates, config, config.strategy)
    other = np.array([generator(config.seed, name, 0, "other strategy").random() for name in ids]) < config.other_share
    parts = []
    for name, mine in ((config.strategy, ~other), (config.other_strategy, other)):
        rows = np.flatnonzero(mine)
        found = _chosen(candidates.some(rows), config, name)
        refused = {int(rows[at]): why for at, why in found.refused.items()}
        parts.append(replace(found, row=rows[found.row], refused=refused))
    return _together(*parts)


def _chosen(candidates: Candidates, config: PairConfig, name: str) -> ChosenPairs:
    """The pairs of one strategy that pass the filters."""
    strategy, scores, poses = strategy_named(name), candidates.scores, candidates.poses
    most = min(config.pairs_per_instance, scores.shape[1] // 2) if strategy.disjoint else config.pairs_per_instance
    none = np.empty((0, most), np.int64)
    winners, losers = strategy.choose(candidates, most, config.seed) if len(scores) else (none, none)

    row = np.arange(len(scores))[:, None]
    same = (poses[row, winners] == poses[row, losers]).all(axis=-1)
    good = ~same
    refusal = np.where(same.all(axis=1), strategy.refusal, MARGIN)
    if strategy.by_score:
        margin = scores[row, winners] - scores[row, losers]
        good &= (margin > 0) & (margin >= config.least_margin)
        refusal = np.where((scores == scores[:, :1]).all(axis=1) & (winners.shape[1] > 0), SCORES_EQUAL, refusal)
    if config.least_distance:
        refusal = np.where(good.any(axis=1), NEAR, refusal)
        good &= distance(poses[row, winners], poses[row, losers]) >= config.least_distance
    at, place = np.nonzero(good)
    refused = {int(lost): str(refusal[lost]) for lost in np.flatnonzero(~good.any(axis=1))}
    return ChosenPairs(at, winners[at, place], losers[at, place], np.full(len(at), name), refused)


def _together(one: ChosenPairs, other: ChosenPairs) -> ChosenPairs:
    """The pairs of both, which have no instance in common."""
    row, winner, loser, strategy = (
        np.concatenate([getattr(one, part), getattr(other, part)]) for part in ("row", "winner", "loser", "strategy")
    )
    order = np.argsort(row, kind="stable")
    return ChosenPairs(row[order], winner[order], loser[order], strategy[order], one.refused | other.refused)


def labels_that_win(ids: Sequence[str], labelled: np.ndarray, scores: np.ndarray, config: PairConfig) -> ChosenPairs:
    """Pairs of N instances whose winner is the label (ADHMR, section 3.3).

    `labelled` (N,): whose label is known. Which of them take part depends on `config.seed` and the instance_id alone;
    the samples with the worst scores (N, M) lose, up to `pairs_per_instance` of them.
    """
    chances = np.array([generator(config.seed, name, 0, "label wins").random() for name in ids])
    rows = np.flatnonzero(labelled & (chances < config.labels_win))
    worst = np.argsort(scores, axis=1, kind="stable")[rows, : config.pairs_per_instance]
    row, winner = np.repeat(rows, worst.shape[1]), np.full(worst.size, LABEL_AS_SAMPLE)
    return ChosenPairs(row, winner, worst.reshape(-1), np.full(worst.size, "label_wins"), {})


def shares_of_pictures(everybody: Sequence[str], most: int) -> dict[str, int]:
    """How many pairs each of `everybody` may give, so that a picture gives `most`: the people in it get equal shares,
    the first by their names one more. It depends on who is in the picture alone, not on shards."""
    people = Counter(_picture(name) for name in everybody)
    before: Counter[str] = Counter()
    shares = {}
    for name in sorted(everybody):
        each, rest = divmod(most, people[_picture(name)])
        shares[name] = each + (before[_picture(name)] < rest)
        before[_picture(name)] += 1
    return shares


def told(config: PairConfig) -> str:
    """How pairs are chosen, in a sentence for the report."""
    words = [strategy_named(config.strategy).sentence]
    if config.other_share:
        words.append(f"of {config.other_share:.0%} of the people {strategy_named(config.other_strategy).sentence}")
    if config.least_margin:
        words.append(f"margins of {config.least_margin:g} at least")
    if config.least_distance:
        words.append(f"poses {config.least_distance:g} apart at least")
    if config.most_per_picture:
        words.append(f"{config.most_per_picture} of a picture at most")
    return "; ".join(words)


def _picture(instance_id: str) -> str:
    return instance_id.rpartition("#")[0]
