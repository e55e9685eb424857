"""The work of pairing: from scored hypotheses to winners and losers, with all that training needs in the row."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from infra.noise import generator
from infra.shards import Shard
from infra.stages import Failure
from schemas.config.networks import JOINTS, TWISTS
from schemas.config.stages import PairConfig
from schemas.errors import named
from schemas.tables import LABEL_AS_SAMPLE, build, contract
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.rows.hypotheses import Hypotheses, StoredHypotheses, read_hypotheses, repeated
from tasks.rows.instances import Instances, load_instances
from tasks.rows.scores import read_scores

if TYPE_CHECKING:
    from tasks.stages.pair import Pair

SCORES_EQUAL = "scores all equal"
IDENTICAL = "hypotheses identical"
MARGIN = "margin below limit"


@dataclass(frozen=True)
class Candidates:
    """N instances with M hypotheses each, of which pairs are to be made."""

    ids: Sequence[str]
    scores: np.ndarray
    """(N, M), higher is better."""
    order: np.ndarray
    """(N, M) hypotheses from the best score to the worst; of equal ones the earlier first."""


def top_bottom(candidates: Candidates, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The best against the worst, the second best against the second worst, ..."""
    return candidates.order[:, :pairs], candidates.order[:, ::-1][:, :pairs]


def at_random(candidates: Candidates, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two different ones, whatever their scores; the choice depends on the seed and the instance_id alone."""
    count = candidates.scores.shape[1]
    shuffled = np.stack([generator(seed, name, 0, "random pair").permutation(count) for name in candidates.ids])
    return shuffled[:, : 2 * pairs : 2], shuffled[:, 1 : 2 * pairs : 2]


class Strategy(NamedTuple):
    """A way to choose pairs."""

    choose: Callable[[Candidates, int, int], tuple[np.ndarray, np.ndarray]]
    """Candidates, K pairs of each instance (K <= M / 2), seed -> winners (N, K) and losers (N, K), places among the M
    hypotheses; no hypothesis of an instance twice."""
    sentence: str
    """What it does, for the report."""
    by_score: bool = True
    """Whether a winner's score is to lie above its loser's: then `least_margin` counts."""


STRATEGIES: Final[Mapping[str, Strategy]] = {
    "top_bottom": Strategy(top_bottom, "best against worst hypothesis of each person, by score"),
    "random": Strategy(at_random, "two hypotheses of each person at random, whatever their scores", by_score=False),
}
"""By their names in the configuration (`pair.strategy`) and in the column `strategy`."""


def strategy_named(name: str) -> Strategy:
    """The strategy of that name. Raises ConfigError, which lists them, for another one."""
    return named(STRATEGIES, name, "pair strategy")


@dataclass(frozen=True)
class ChosenPairs:
    """P pairs among N instances with M hypotheses each."""

    row: np.ndarray
    """(P,) which instance; ascending."""
    winner: np.ndarray
    """(P,) which of its M hypotheses."""
    loser: np.ndarray
    """(P,) likewise; never the winner."""
    refused: dict[int, str]
    """Instance -> reason, for each instance without a pair."""

    def without(self, instances: Collection[int]) -> "ChosenPairs":
        """The same but for some instances, which have pairs of another kind."""
        others = ~np.isin(self.row, sorted(instances))
        refused = {row: why for row, why in self.refused.items() if row not in instances}
        return ChosenPairs(self.row[others], self.winner[others], self.loser[others], refused)


def ranks(scores: np.ndarray) -> np.ndarray:
    """The place (N, M) of each hypothesis by its score (N, M), 0 is best; of equal ones the earlier comes first."""
    return np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)


def choose_pairs(ids: Sequence[str], scores: np.ndarray, poses: np.ndarray, config: PairConfig) -> ChosenPairs:
    """Up to `pairs_per_instance` pairs of each instance, by the strategy that `config` names; no hypothesis is in two.

    Equal scores say nothing: where the strategy goes by score, a pair's margin must be above zero and at least
    `least_margin`. ConfigError for a strategy that there isn't.

    Args:
        ids: N instance_ids.
        scores: (N, M), M >= 2, higher is better.
        poses: (N, M, D), whatever tells hypotheses apart.
    """
    strategy, count = strategy_named(config.strategy), scores.shape[1]
    order = np.argsort(-scores, axis=1, kind="stable")
    most = min(config.pairs_per_instance, count // 2)
    winners, losers = strategy.choose(Candidates(ids, scores, order), most, config.seed)

    row = np.arange(len(ids))[:, None]
    same = (poses[row, winners] == poses[row, losers]).all(axis=-1)
    good = ~same
    refusal = np.where(same.all(axis=1), IDENTICAL, MARGIN)
    if strategy.by_score:
        margin = scores[row, winners] - scores[row, losers]
        good &= (margin > 0) & (margin >= config.least_margin)
        refusal = np.where((scores == scores[:, :1]).all(axis=1), SCORES_EQUAL, refusal)
    at, place = np.nonzero(good)
    refused = {int(lost): str(refusal[lost]) for lost in np.flatnonzero(~good.any(axis=1))}
    return ChosenPairs(at, winners[at, place], losers[at, place], refused)


def labels_that_win(
    ids: Sequence[str], labelled: np.ndarray, scores: np.ndarray, config: PairConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose winner is the label (ADHMR, section 3.3): which of N instances (P,), and which sample loses (P,).

    `labelled` (N,): whose label is known. Which of them take part depends on `config.seed` and the instance_id alone;
    the samples with the worst scores (N, M) lose, up to `pairs_per_instance` of them.
    """
    chances = np.array([generator(config.seed, name, 0, "label wins").random() for name in ids])
    rows = np.flatnonzero(labelled & (chances < config.label_wins_share))
    worst = np.argsort(scores, axis=1, kind="stable")[rows, : config.pairs_per_instance]
    return np.repeat(rows, worst.shape[1]), worst.reshape(-1)


class PairWorker:
    """Chooses the pairs of a shard's instances."""

    def __init__(self, stage: "Pair", context: Context) -> None:
        self.stage, self.store, self.partition = stage, context.store, context.partition
        self.pair_set = stage.key(context)

    def __call__(self, shard: Shard) -> ShardOutput:
        """Rows of `pairs`, sorted by instance."""
        stored = read_hypotheses(self.store, self.stage.generation, shard.ids)
        return self.among(stored, read_scores(self.store, self.stage.scores, stored.ids, stored.samples))

    def among(self, stored: StoredHypotheses, scores: np.ndarray) -> ShardOutput:
        """The same of N instances, of whom all hypotheses and their scores (N, M) are at hand; N may be 0."""
        if not stored.ids:
            return ShardOutput({"pairs": contract("pairs").schema.empty_table()})
        hypotheses = stored.hypotheses
        poses = np.concatenate(
            [hypotheses.uvd.reshape(*scores.shape, -1), hypotheses.twists.reshape(*scores.shape, -1)], axis=-1
        )
        tables, winning = [], set()
        if self.stage.labels:
            people = load_instances(self.store, self.stage.labels, stored.ids)
            labelled = people.labelled & np.isfinite(people.uvd).all((1, 2))
            rows, losers = labels_that_win(stored.ids, labelled, scores, self.stage.config)
            winning = set(rows.tolist())
            tables.append(self._of_labels(stored, people, scores, rows, losers))
        chosen = choose_pairs(stored.ids, scores, poses, self.stage.config).without(winning)
        tables.append(self._table(stored, scores, chosen))
        failures = [
            Failure(stored.ids[row], reason, _detail(scores[row], self.stage.config), outcome="filtered")
            for row, reason in chosen.refused.items()
        ]
        pairs = pa.concat_tables(tables).sort_by("instance_id")
        return ShardOutput({"pairs": pairs}, failures, ok=len(stored.ids) - len(failures))

    def _of_labels(
        self, stored: StoredHypotheses, people: Instances, scores: np.ndarray, row: np.ndarray, loser: np.ndarray
    ) -> pa.Table:
        """Pairs whose winner is the label."""
        columns = {
            **self._against(stored, scores, row, loser),
            "winner": np.full(len(row), LABEL_AS_SAMPLE, np.int32),
            "strategy": "label_wins",
            "winner_uvd": people.uvd[row].reshape(-1, JOINTS * 3),
            "winner_twist": people.twists[row].reshape(-1, TWISTS * 2),
            "winner_betas": people.betas[row],
        }
        return build("pairs", columns)

    def _table(self, stored: StoredHypotheses, scores: np.ndarray, chosen: ChosenPairs) -> pa.Table:
        won, lost = scores[chosen.row, chosen.winner], scores[chosen.row, chosen.loser]
        columns = {
            **self._against(stored, scores, chosen.row, chosen.loser),
            "winner": stored.samples[chosen.winner],
            "winner_score": won,
            "winner_rank": ranks(scores)[chosen.row, chosen.winner].astype(np.int32),
            "margin": won - lost,
            "strategy": self.stage.config.strategy,
            **_payload("winner_", stored.hypotheses, chosen.row, chosen.winner),
        }
        return build("pairs", columns)

    def _against(
        self, stored: StoredHypotheses, scores: np.ndarray, row: np.ndarray, loser: np.ndarray
    ) -> dict[str, Any]:
        """What pairs of either kind of winner have in common: the instances `row` (P,) and their losers."""
        return {
            "pair_set": self.pair_set,
            "instance_id": repeated(stored.ids, row, 1),
            "generation_id": self.stage.generation,
            "loser": stored.samples[loser],
            "loser_score": scores[row, loser],
            "loser_rank": ranks(scores)[row, loser].astype(np.int32),
            **_payload("loser_", stored.hypotheses, row, loser),
            "dataset": repeated(stored.dataset, row, 1),
            "round": np.full(len(row), self.partition, np.int32),
            "stage_key": self.pair_set,
        }


def _payload(prefix: str, hypotheses: Hypotheses, row: np.ndarray, place: np.ndarray) -> dict[str, np.ndarray]:
    return {
        f"{prefix}uvd": hypotheses.uvd[row, place].reshape(-1, JOINTS * 3),
        f"{prefix}twist": hypotheses.twists[row, place].reshape(-1, TWISTS * 2),
        f"{prefix}betas": hypotheses.betas[row, place],
    }


def _detail(scores: np.ndarray, config: PairConfig) -> str:
    return f"scores from {scores.min():.6f} to {scores.max():.6f}, least margin {config.least_margin:g}"
