"""Evaluate: hypotheses of a policy on held-out labels, their scores and their errors, in one pass.

The stage generates itself, so its key is the generation_id of all three tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.body_arrays import body_digest
from schemas.config.stages import EvaluateConfig
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker
from tasks.engine.stage import ShardedStage
from tasks.rows.instances import sorted_ids
from tasks.stages.generate import by_casts


@dataclass(frozen=True)
class Evaluate(ShardedStage):
    """Measures a policy on labelled splits -> tables `hypotheses`, `scores`, `errors`.

    Without a `scorer` there are no scores, and nothing is selected by them: a control needs none, and costs a third
    less. `temperature` multiplies the starting noise: the control that only shrinks it uses `config.less_noise`. An
    instance without a gt label is filtered; one for which a model gives a number that is not finite fails.
    """

    ingests: tuple[StageKey, ...]
    targets: tuple[Target, ...]
    policy: ModelDigest
    scorer: ModelDigest | None
    config: EvaluateConfig
    temperature: float = 1.0

    name = "evaluate"
    writes = ("hypotheses", "scores", "errors")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {
            "generate": self.config.generate,
            **by_casts(self.config.generate),
            "temperature": self.temperature,
            "targets": [str(target) for target in self.targets],
            "score": context.config.score if self.scorer else None,
            "root_solver": context.config.root_solver,
            "body": body_digest(context.config.body),
            "threads": context.config.ray.threads_per_actor,
        }

    def ids(self, context: Context) -> pa.StringArray:
        return sorted_ids(context.store, self.ingests, self.targets)

    def shard_size(self, context: Context) -> int:
        return self.config.generate.shard_size

    def worker(self, context: Context) -> ShardWorker:
        from tasks.evaluate import EvaluateWorker

        return EvaluateWorker(self, context)
