"""The pairs that are shown: spread over the margins as a sort of all rows has them, without all rows in memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from infra.shards import Tally, cut, receipts, write_shard
from infra.stages import StageSpec, commit, files_by_table
from infra.store import Store
from infra.tables import read
from schemas.ids import StageKey
from schemas.tables import LABEL_AS_SAMPLE, build
from tasks.report.pictures.winners import chosen_pairs, spread

PEOPLE, SHARD = 2000, 500


def _pairs(store: Store, leg: int) -> StageKey:
    """A stage with a pair for each of the people: margins are repeated, every fifth winner is a label."""
    spec = StageSpec("pair", 1, {"leg": leg})
    shards = cut([f"toy/train/{number:06d}#0" for number in range(PEOPLE)], SHARD)
    payload = {"uvd": 87, "twist": 46, "betas": 10}
    for shard in shards:
        count, draw = len(shard.ids), np.random.default_rng([leg, shard.index])
        label = np.arange(count) % 5 == 0
        margin = [None if one else float(of) for one, of in zip(label, draw.integers(0, 40, count) / 64, strict=True)]
        columns: dict[str, Any] = {
            "pair_set": [spec.key] * count,
            "instance_id": list(shard.ids),
            "generation_id": [spec.key] * count,
            "winner": np.where(label, LABEL_AS_SAMPLE, draw.integers(0, 5, count)).astype(np.int32),
            "loser": draw.integers(5, 9, count).astype(np.int32),
            "winner_score": [None if one is None else 0.25 + one for one in margin],
            "loser_score": [0.25] * count,
            "margin": margin,
            "strategy": ["extremes"] * count,
            "dataset": ["toy"] * count,
            "round": [1] * count,
            "stage_key": [spec.key] * count,
        }
        for side in ("winner", "loser"):
            columns |= {f"{side}_{name}": np.zeros((count, size), np.float32) for name, size in payload.items()}
        write_shard(store, spec.key, shard, {"pairs": build("pairs", columns)}, Tally(ok=count))
    files = files_by_table(receipts(store, spec.key, shards).values(), ["pairs"])
    return StageKey(commit(store, spec, files, PEOPLE, Tally(ok=PEOPLE)).stage_key)


def test_the_chosen_are_those_of_all_rows_sorted(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    keys = [_pairs(store, leg) for leg in range(2)]
    columns = ["instance_id", "generation_id", "winner", "loser", "winner_score", "loser_score", "margin"]
    every = [row for row in read(store, "pairs", columns=columns).to_pylist() if row["margin"] is not None]
    every.sort(key=lambda row: (-row["margin"], row["instance_id"], row["winner"], row["loser"]))
    assert len(every) == 2 * PEOPLE * 4 // 5
    tracemalloc.start()
    chosen = chosen_pairs(store, keys, 7)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert chosen == [every[place] for place in spread(len(every), 7)]
    assert peak < 150 * len(every), "a row as Python's objects takes half a kilobyte and more"


def test_where_there_are_no_pairs_nothing_is_chosen(tmp_path: Path) -> None:
    assert chosen_pairs(Store.open(tmp_path / "store"), [], 4) == []
