"""Figures of tables at the published sizes: pairs as tensors, and questions to ten million pairs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.views import query
from schemas.tables import build
from tests.benchmarks.figures import Goal, Measured, Way, measure, wall_seconds
from tests.benchmarks.pair_files import SIDES, InventedPairs, names, payload, poses

MARGINS = "SELECT round, floor(margin * 20) / 20 AS margin, count(*) AS pairs FROM pairs GROUP BY ALL ORDER BY ALL"
"""A histogram for each round, 20 bars to the unit."""
BEST = "SELECT round, instance_id, winner, loser, margin FROM pairs ORDER BY margin DESC, round, instance_id LIMIT 100"


def table_figures(
    folder: Path, repeats: int, pairs: int = 10_000, many: tuple[int, int] = (50, 200_000)
) -> Iterator[Measured]:
    """`pairs` become tensors, and `many` (files, pairs in each) are asked; both lie in `folder`."""
    yield tensors(folder, repeats, pairs)
    yield from questions(folder, repeats, *many)


def tensors(folder: Path, repeats: int, count: int) -> Measured:
    """Winners and losers from the published JSON, and from the table."""
    given = InventedPairs(folder, count, np.random.default_rng(0))
    ways = {
        "plain, the published JSON": Way(lambda: list(map(torch.tensor, given.from_json())), published_ms=1810),
        "the engine, Delta table": Way(
            lambda: list(map(torch.tensor, given.from_table())), goals=(Goal("faster", 90),)
        ),
    }
    return measure(f"{count:,} pairs as tensors", "file", ways, repeats=repeats)


def questions(folder: Path, repeats: int, files: int, rows: int) -> Iterator[Measured]:
    """What people ask of margins, over as many files; the first turn, which compares digests, doesn't count."""
    store = many_pairs(folder, files, rows)
    asked = {"histogram of margins for each round": MARGINS, "the 100 pairs with the largest margin": BEST}
    for what, sql in asked.items():
        way = Way(partial(query, store, sql), goals=(Goal("ms", 1000),))
        yield measure(
            f"{files * rows:,} pairs in {files} files: {what}",
            "question",
            {"the engine, DuckDB, by the clock": way},
            repeats=repeats,
            clock=wall_seconds,
        )


def many_pairs(folder: Path, files: int, rows: int) -> Store:
    """A store with a round in each file; margins and scores are invented, winners and losers the same throughout."""
    store, draw = Store.open(folder / "many"), np.random.default_rng(0)
    row = payload({side: poses(draw, 1) for side in SIDES})
    same = {name: np.repeat(part, rows, axis=0) for name, part in row.items()}
    for index in range(files):
        spec = StageSpec("invented_pairs", 1, {"round": index})
        scores = np.sort(draw.random((rows, 2)), axis=1)
        columns = {
            "pair_set": spec.key,
            "instance_id": names(rows),
            "generation_id": "invented",
            "winner": draw.integers(0, 50, rows).astype(np.int32),
            "loser": draw.integers(50, 100, rows).astype(np.int32),
            "winner_score": scores[:, 1],
            "loser_score": scores[:, 0],
            "winner_rank": 0,
            "loser_rank": 49,
            "margin": scores[:, 1] - scores[:, 0],
            **same,
            "strategy": "invented",
            "dataset": "invented",
            "round": index,
            "stage_key": spec.key,
        }
        commit_rows(store, spec, {"pairs": build("pairs", columns)})
    return store
