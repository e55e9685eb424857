"""Score: what HMR-Scorer says of every hypothesis. No label is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from infra.tables import read_ids
from schemas.ids import ModelDigest, StageKey
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker
from tasks.engine.stage import ShardedStage


@dataclass(frozen=True)
class Score(ShardedStage):
    """Scores every hypothesis of a generation -> table `scores`.

    `ingests` hold its people. An instance for which the scorer gives a number that is not finite ends in `failures`.
    """

    generation: StageKey
    ingests: tuple[StageKey, ...]
    scorer: ModelDigest

    name = "score"
    writes = ("scores",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"score": context.config.score, "threads": context.config.ray.threads_per_actor}

    def ids(self, context: Context) -> pa.StringArray:
        return read_ids(context.store, "hypotheses", stage_keys=[self.generation])

    def shard_size(self, context: Context) -> int:
        return context.config.score.shard_size

    def worker(self, context: Context) -> ShardWorker:
        from tasks.score import ScoreWorker

        return ScoreWorker(self, context)
