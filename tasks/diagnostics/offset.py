"""The constant offset: one shift for everybody, the mean of winner less loser times alpha. A diagnostic.

A gap that such a shift closes is no problem to learn preferences on: whatever a policy gains there by pairs, it would
gain by one number for each joint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from infra.store import Store
from infra.tables import read
from schemas.config.networks import JOINTS
from schemas.errors import DataError
from schemas.ids import StageKey
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker
from tasks.evaluate import EvaluateWorker
from tasks.generate import HypothesisSampler
from tasks.rows.hypotheses import Hypotheses
from tasks.stages.evaluate import Evaluate

ALPHAS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Of these the best on validation is taken."""


@dataclass(frozen=True)
class EvaluateOffset(Evaluate):
    """Measures a policy whose hypotheses are all moved by `alpha` times the mean of winner less loser of `pairs`."""

    pairs: StageKey | None = None
    alpha: float = 1.0

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {**super().key_config(context), "offset": self.alpha}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (*self.ingests, *([self.pairs] if self.pairs else []))

    def worker(self, context: Context) -> ShardWorker:
        assert self.pairs is not None
        worker = EvaluateWorker(self, context)
        worker.draw = _Moved(worker.draw, self.alpha * mean_offset(context.store, self.pairs))
        return worker


class _Moved(HypothesisSampler):
    """What another sampler draws, with joints moved."""

    def __init__(self, draw: HypothesisSampler, offset: np.ndarray) -> None:
        self.__dict__.update(draw.__dict__)
        self.offset = offset

    def __call__(
        self, ids: Sequence[str], crops: np.ndarray, crop_intrinsics: np.ndarray, root_depth: np.ndarray
    ) -> Hypotheses:
        drawn = super().__call__(ids, crops, crop_intrinsics, root_depth)
        return replace(drawn, uvd=drawn.uvd + self.offset)


def mean_offset(store: Store, pairs: StageKey) -> np.ndarray:
    """(29, 3) mean of winner less loser, normalised uvd. DataError where there are no pairs."""
    rows = read(store, "pairs", stage_keys=[pairs], columns=["winner_uvd", "loser_uvd"])
    if not len(rows):
        raise DataError(f"Stage {pairs[:12]} left no pairs, so there is no offset.")
    mean = (matrix(rows, "winner_uvd") - matrix(rows, "loser_uvd")).mean(axis=0, dtype=np.float64)
    return mean.reshape(JOINTS, 3).astype(np.float32)
