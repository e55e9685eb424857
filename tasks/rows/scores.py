"""Scores of hypotheses as rows of the table, and back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey
from schemas.tables import build
from tasks.rows.hypotheses import BY_SAMPLE, repeated


class Scored(NamedTuple):
    """What a scorer says of M hypotheses of each of N instances."""

    scores: np.ndarray
    """(N, M) in (0, 1)."""
    disagreement: np.ndarray | None = None
    """(N, M) standard deviation over the scorer's heads of what each would score; None for a scorer that has one."""

    def of(self, rows: np.ndarray) -> "Scored":
        """What it says of some of the instances."""
        return Scored(self.scores[rows], None if self.disagreement is None else self.disagreement[rows])


def scores_table(
    generation_id: StageKey,
    ids: Sequence[str],
    samples: Sequence[int] | np.ndarray,
    scores: np.ndarray,
    scorer: ModelDigest,
    partition: int,
    rows: np.ndarray,
    disagreement: np.ndarray | None = None,
    spread_mm: np.ndarray | None = None,
) -> pa.Table:
    """Rows of `scores` (without `stage_key`) for the instances `rows` of `scores` and `disagreement`, (N, M) each, and
    of `spread_mm` (N,), NaN where it is not known."""
    count = scores.shape[1]
    total = len(rows) * count
    columns = {
        "generation_id": generation_id,
        "instance_id": repeated(ids, rows, count),
        "sample_index": np.tile(np.asarray(samples, np.int32), len(rows)),
        "scorer": scorer,
        "score": scores[rows].reshape(total),
        "round": np.full(total, partition, np.int32),
        "stage_key": "",
    }
    if disagreement is not None:
        columns["disagreement"] = disagreement[rows].reshape(total)
    if spread_mm is not None:
        spread = np.repeat(spread_mm[rows], count)
        columns["spread_mm"] = pa.array(spread, pa.float64(), mask=np.isnan(spread))
    return build("scores", columns).drop_columns(["stage_key"])


def read_scores(store: Store, score_key: StageKey, ids: Sequence[str], samples: np.ndarray) -> np.ndarray:
    """The scores (N, M) that a stage gave to samples (M,) of the instances `ids`, which are sorted.

    DataError where one is missing.
    """
    return read_scored(store, score_key, ids, samples).scores


def read_scored(store: Store, score_key: StageKey, ids: Sequence[str], samples: np.ndarray) -> Scored:
    """The same, and what the scorer's heads differ by."""
    columns = ["instance_id", "sample_index", "score", "disagreement"]
    rows = read(store, "scores", stage_keys=[score_key], ids=ids, columns=columns)
    rows = rows.sort_by(BY_SAMPLE)
    expected = np.tile(samples, len(ids))
    if not np.array_equal(rows.column("sample_index").to_numpy(), expected):
        raise DataError(
            f"The stage {score_key[:12]} scored other hypotheses than those of the {len(ids)} instances from {ids[0]} "
            "on: give the scores that belong to the generation."
        )
    shape, differ = (len(ids), len(samples)), rows.column("disagreement")
    known = len(rows) > 0 and not differ.null_count
    return Scored(rows.column("score").to_numpy().reshape(shape), differ.to_numpy().reshape(shape) if known else None)
