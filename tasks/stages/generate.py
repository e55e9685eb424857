"""Generate: M hypotheses of the policy for every instance, each from noise of its own that can be drawn again alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.body_arrays import body_digest
from schemas.config.stages import GenerateConfig
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker
from tasks.engine.stage import ShardedStage
from tasks.rows.instances import sorted_ids
from tasks.rows.part import Part, counting


@dataclass(frozen=True)
class Generate(ShardedStage):
    """Draws `config.hypotheses` samples of the policy for every instance of `targets` -> table `hypotheses`.

    With a `part`, for those in that part alone.
    With `round_seed`, the number of a round, that round has noise of its own. An instance for which the model gives a
    number that is not finite ends in `failures`.
    """

    ingests: tuple[StageKey, ...]
    targets: tuple[Target, ...]
    policy: ModelDigest
    config: GenerateConfig
    round_seed: int | None = None
    part: Part | None = None

    name = "generate"
    writes = ("hypotheses",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {
            "generate": self.config,
            **by_casts(self.config),
            "targets": [str(target) for target in self.targets],
            "round_seed": self.round_seed,
            "body": body_digest(context.config.body),
            "threads": context.config.ray.threads_per_actor,
            **counting(self.part),
        }

    def ids(self, context: Context) -> pa.StringArray:
        return sorted_ids(context.store, self.ingests, self.targets, self.part)

    def shard_size(self, context: Context) -> int:
        return self.config.shard_size

    def worker(self, context: Context) -> ShardWorker:
        from tasks.generate import GenerateWorker

        return GenerateWorker(self, context)


def by_casts(config: GenerateConfig) -> dict[str, bool]:
    """For the key of what is drawn in 16 bits: before layers were cast, autocast gave other last bits."""
    return {"by_casts": True} if config.precision == "bfloat16" else {}
