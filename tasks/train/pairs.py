"""Pairs as alignment learns from them: winners and losers over crops, in files where they are too many for memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from infra.pieces import read_pieces
from infra.store import Store
from infra.tables import read
from models.diffusion import POSE_SIZE
from schemas.errors import DataError
from schemas.ids import StageKey
from schemas.tables import matrix
from tasks.rows.crops import Crops
from tasks.rows.mix import Mix
from tasks.rows.streams import Space, crops_of


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
    chances: np.ndarray | None = None
    """(N,) of each crop to be the next that is drawn, if it has pairs; None: all alike."""

    def __len__(self) -> int:
        return len(self.crop_row)


def load_pairs(
    store: Store, pair_key: StageKey, people: Mix, space: Space, earlier: Sequence[StageKey] = ()
) -> PreferencePairs:
    """The pairs of a stage, and of `earlier` ones, with their crops, sorted by instance, winner and loser; drawn as
    `people` says."""
    keys = [pair_key, *earlier]
    by = ["instance_id", "winner", "loser", *(["pair_set"] if earlier else [])]
    names = read(store, "pairs", stage_keys=keys, columns=by)
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
    return PreferencePairs(crops, crop_row, winner, loser, chances=people.chances(targets))
