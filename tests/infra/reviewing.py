"""A store with pairs, and reviewers of them, also as processes of their own:

`python -m tests.infra.reviewing STORE REVIEWER GO_FILE` accepts every pair, one after the other, once GO_FILE exists.
"""

import sys
import time
from pathlib import Path

import numpy as np

from infra import reviews
from infra.reviews import PairName, Review
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.tables import build

PEOPLE = 10


def store_with_pairs(folder: Path, in_round: int = 1) -> tuple[Store, list[PairName]]:
    """A pair each of some people, the margins rising from 0.0 to 0.9."""
    store = Store.open(folder)
    spec = StageSpec("pair", 1, {"round": in_round}, campaign="c", in_round=in_round)
    ids = [f"wild/train/{number:08d}#0" for number in range(PEOPLE)]
    margins = np.arange(PEOPLE) / 10
    payload = {"uvd": np.zeros((PEOPLE, 87)), "twist": np.zeros((PEOPLE, 46)), "betas": np.zeros((PEOPLE, 10))}
    columns = {
        "pair_set": spec.key,
        "instance_id": ids,
        "generation_id": "g",
        "winner": 1,
        "loser": 2,
        "winner_score": 1 - margins / 2,
        "loser_score": 1 - margins / 2 - margins,
        "winner_rank": 0,
        "loser_rank": 1,
        "margin": margins,
        "strategy": "top_bottom",
        **{f"{side}_{name}": values for side in ("winner", "loser") for name, values in payload.items()},
        "dataset": "wild",
        "round": in_round,
        "stage_key": spec.key,
    }
    commit_rows(store, spec, {"pairs": build("pairs", columns)})
    return store, [PairName(spec.key, name, 1, 2) for name in ids]


def accept_all(store: Store, reviewer: str, pairs: list[PairName]) -> None:
    for number, pair in enumerate(pairs):
        reviews.add(store, [Review(pair, reviewer, reviews.ACCEPT, review_id=f"{reviewer} {number}")])


if __name__ == "__main__":
    opened = Store.open(sys.argv[1])
    named = [PairName(*line.split("\t")[:2], 1, 2) for line in sys.stdin.read().splitlines()]
    while not Path(sys.argv[3]).exists():
        time.sleep(0.005)
    accept_all(opened, sys.argv[2], named)
