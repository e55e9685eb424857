"""What a training learned from, of pairs that people judged."""

import numpy as np

from infra.reviews import PairName
from infra.store import Store
from infra.tables import read
from schemas.tables import matrix
from tasks.train.pairs import PreferencePairs


def ends(store: Store, pair: PairName) -> tuple[np.ndarray, np.ndarray]:
    """Winner and loser of a pair as a training has them: joints, then twists."""
    rows = read(store, "pairs", stage_keys=[pair.stage_key], ids=[pair.instance_id])
    place = next(place for place, row in enumerate(rows.to_pylist()) if (row["winner"], row["loser"]) == pair[2:])
    winner, loser = (
        np.concatenate([matrix(rows, f"{side}_{part}")[place] for part in ("uvd", "twist")])
        for side in ("winner", "loser")
    )
    return winner, loser


def times(read_in: PreferencePairs, winner: np.ndarray, loser: np.ndarray) -> int:
    """How often a training has read this as winner and loser."""
    alike = (read_in.winner == winner).all(axis=1) & (read_in.loser == loser).all(axis=1)
    return int(alike.sum())
