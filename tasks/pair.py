"""The work of pairing: from scored hypotheses to winners and losers, with all that training needs in the row."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from infra.shards import Shard
from infra.stages import Failure
from schemas.config.networks import JOINTS, TWISTS
from schemas.config.stages import PairConfig
from schemas.tables import build, contract
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.pairing.choice import ChosenPairs, choose_pairs, labels_that_win, ranks, shares_of_pictures
from tasks.rows.hypotheses import Hypotheses, StoredHypotheses, read_hypotheses, repeated
from tasks.rows.instances import Instances, load_instances
from tasks.rows.scores import Scored, read_scored

if TYPE_CHECKING:
    from tasks.engine.stage import ShardedStage
    from tasks.stages.pair import Pair


class PairWorker:
    """Chooses the pairs of a shard's instances."""

    def __init__(self, stage: "Pair", context: Context, everybody: "ShardedStage | None" = None) -> None:
        """`everybody` has the ids of all people whom the stage sees, where the stage itself can't know them yet."""
        self.stage, self.context, self.store, self.partition = stage, context, context.store, context.partition
        self._everybody = everybody or stage
        self.pair_set = stage.key(context)

    def __call__(self, shard: Shard) -> ShardOutput:
        """Rows of `pairs`, sorted by instance."""
        stored = read_hypotheses(self.store, self.stage.generation, shard.ids)
        return self.among(stored, read_scored(self.store, self.stage.scores, stored.ids, stored.samples))

    def among(self, stored: StoredHypotheses, scored: Scored) -> ShardOutput:
        """The same of N instances, of whom all hypotheses and what the scorer says of them are at hand; N may be 0."""
        scores = scored.scores
        if not stored.ids:
            return ShardOutput({"pairs": contract("pairs").schema.empty_table()})
        hypotheses = stored.hypotheses
        poses = np.concatenate(
            [hypotheses.uvd.reshape(*scores.shape, -1), hypotheses.twists.reshape(*scores.shape, -1)], axis=-1
        )
        tables, winning = [], set[int]()
        refused: dict[int, str] = {}
        if self.stage.labels:
            people = load_instances(self.store, self.stage.labels, stored.ids)
            labelled = people.labelled & np.isfinite(people.uvd).all((1, 2))
            by_label = labels_that_win(stored.ids, labelled, scores, self.stage.config)
            winning = set(by_label.row.tolist())
            by_label = self._at_most(stored.ids, by_label)
            refused |= by_label.refused
            tables.append(self._of_labels(stored, people, scores, by_label))
        chosen = choose_pairs(stored.ids, scores, poses, self.stage.config, scored.disagreement).without(winning)
        chosen = self._at_most(stored.ids, chosen)
        refused |= chosen.refused
        tables.append(self._table(stored, scores, chosen))
        failures = [
            Failure(stored.ids[row], reason, _detail(scores[row], self.stage.config), outcome="filtered")
            for row, reason in refused.items()
        ]
        pairs = pa.concat_tables(tables).sort_by("instance_id")
        return ShardOutput({"pairs": pairs}, failures, ok=len(stored.ids) - len(failures))

    @cached_property
    def _shares(self) -> dict[str, int]:
        """How many pairs each of the stage's people may give."""
        everybody = pa.array(self._everybody.ids(self.context), pa.string()).to_pylist()
        return shares_of_pictures(everybody, self.stage.config.most_per_picture)

    def _at_most(self, ids: Sequence[str], chosen: ChosenPairs) -> ChosenPairs:
        """The pairs that the people's pictures have room for."""
        if not self.stage.config.most_per_picture:
            return chosen
        return chosen.at_most(np.array([self._shares[name] for name in ids]))

    def _of_labels(
        self, stored: StoredHypotheses, people: Instances, scores: np.ndarray, chosen: ChosenPairs
    ) -> pa.Table:
        """Pairs whose winner is the label."""
        row = chosen.row
        columns = {
            **self._against(stored, scores, row, chosen.loser),
            "winner": chosen.winner.astype(np.int32),
            "strategy": chosen.strategy.tolist(),
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
            "strategy": chosen.strategy.tolist(),
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
    limits = f"least margin {config.least_margin:g}"
    if config.least_distance:
        limits += f", least distance {config.least_distance:g}"
    if config.most_per_picture:
        limits += f", {config.most_per_picture} pairs of a picture at most"
    return f"scores from {scores.min():.6f} to {scores.max():.6f}, {limits}"
