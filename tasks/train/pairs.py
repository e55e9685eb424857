"""Pairs as alignment learns from them: winners and losers over crops, in files where they are too many for memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.pieces import read_pieces
from infra.store import Store
from infra.tables import read
from models.diffusion import POSE_SIZE
from schemas.errors import DataError
from schemas.ids import StageKey
from schemas.tables import LABEL_AS_SAMPLE, matrix
from tasks.pairing.strategies import STRATEGIES
from tasks.rows.crops import Crops
from tasks.rows.mix import Chances, Mix
from tasks.rows.streams import Space, crops_of

_ABOUT: Final = ("generation_id", "winner_score", "loser_score", "strategy")
_BLIND: Final = [name for name, strategy in STRATEGIES.items() if not strategy.by_score]
"""Strategies that ask no score, as that of random pairs: what learns from groups must not make them ranked again."""


@dataclass(frozen=True)
class PreferencePairs:
    """P pairs over N crops."""

    crops: Crops
    """(N, S, S, 3) uint8."""
    crop_row: np.ndarray
    """(P,) which crop a pair belongs to."""
    winner: np.ndarray
    """(P, 133): 87 normalised uvd, 46 twists."""
    loser: np.ndarray
    """(P, 133) likewise."""
    weight: np.ndarray | None = None
    """(P, 133) of the squared errors of winner and loser, for instance zeros at joints that were not seen; None: 1."""
    chances: Chances | None = None
    """Of the N crops, those that have pairs; None: all alike."""
    samples: np.ndarray | None = None
    """(P, 2) int64, which hypotheses winner and loser are: the same number for the same one of a crop, -1 for its
    label; None: nobody is in two pairs."""
    scores: np.ndarray | None = None
    """(P, 2) float32 of winner and loser, NaN where they didn't decide who wins, or nobody was asked; None: nowhere."""

    def __len__(self) -> int:
        return len(self.crop_row)

    def known_scores(self) -> np.ndarray:
        """(P, 2) float32 scores, a winner's not below its loser's.

        In place of NaN, and of both where they contradict the pair, which somebody else then decided, a winner has 1
        and a loser 0, or the other's score if that is beyond.
        """
        if self.scores is None:
            return np.broadcast_to(np.array([1.0, 0.0], np.float32), (len(self), 2))
        winner, loser = np.where((self.scores[:, 0] < self.scores[:, 1])[:, None], np.nan, self.scores).T
        return np.stack(
            [
                np.where(np.isnan(winner), np.fmax(1.0, loser), winner),
                np.where(np.isnan(loser), np.fmin(0.0, winner), loser),
            ],
            axis=1,
        ).astype(np.float32)


def load_pairs(
    store: Store, pair_key: StageKey, people: Mix, space: Space, earlier: Sequence[StageKey] = ()
) -> PreferencePairs:
    """The pairs of a stage, and of `earlier` ones, with their crops, sorted by instance, winner and loser; drawn as
    `people` says."""
    keys = [pair_key, *earlier]
    by = ["instance_id", "winner", "loser", *(["pair_set"] if earlier else [])]
    names = read(store, "pairs", stage_keys=keys, columns=[*by, *_ABOUT])
    if len(names) == 0:
        raise DataError(f"Stage {pair_key[:12]} left no pair to train on; the table failures says why.")
    order = pc.sort_indices(names, [(name, "ascending") for name in by])
    paired = names.column("instance_id").take(order).combine_chunks().dictionary_encode()
    place = np.empty(len(names), np.int64)
    place[order.to_numpy()] = np.arange(len(names))
    winner, loser = (space.cache.array((len(names), POSE_SIZE), np.float32) for _ in range(2))
    start = 0
    columns = ["winner_uvd", "winner_twist", "loser_uvd", "loser_twist"]
    for rows in read_pieces(store, "pairs", keys, columns=columns):
        here = place[start : start + len(rows)]
        for side, poses in (("winner", winner), ("loser", loser)):
            poses[here, :87] = matrix(rows, f"{side}_uvd")
            poses[here, 87:] = matrix(rows, f"{side}_twist")
        start += len(rows)
    crops, targets = crops_of(store, people.ingests, paired.dictionary, space)
    crop_row = paired.indices.to_numpy().astype(np.int64)
    names = names.take(order)
    samples, scores = _sides(names, "", np.int64), _sides(names, "_score", np.float32)
    drawn = names.column("generation_id").combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    samples = np.where(samples == LABEL_AS_SAMPLE, samples, samples + (drawn[:, None] << 32))
    scores[pc.is_in(names.column("strategy"), pa.array(_BLIND)).to_numpy()] = np.nan
    return PreferencePairs(
        crops,
        crop_row,
        winner,
        loser,
        chances=people.chances(targets),
        samples=samples,
        scores=scores,
    )


def _sides(rows: pa.Table, of: str, kind: type[np.generic]) -> np.ndarray:
    """(P, 2) a column of winners and losers; NaN where it is null."""
    columns = [rows.column(f"{side}{of}").to_numpy() for side in ("winner", "loser")]
    return np.stack(columns, axis=1).astype(kind)
