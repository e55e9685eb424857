"""The published protocols: measured as published, the figures of one policy, and the change between two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.stages import StageRecord, find
from schemas.config.stages import GenerateConfig
from schemas.errors import ConfigError, DataError
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker
from tasks.engine.stage import Rows, ShardedStage, WholeStage
from tasks.evaluation.mirrorless import as_published
from tasks.rows.instances import instance_ids

if TYPE_CHECKING:
    from models.published_metrics import Order


@dataclass(frozen=True)
class MeasurePublished(ShardedStage):
    """Draws, scores and measures as published -> tables `hypotheses`, `scores`, `errors`.

    Fields as of `EvaluatePublished`. An instance without a gt label, or with one of SMPL-X, is filtered; one for which
    a model gives a number that is not finite fails.
    """

    ingests: tuple[StageKey, ...]
    target: Target
    policy: ModelDigest
    scorer: ModelDigest | None
    hypotheses: int
    protocol: "Order"
    bodies: str

    name = "measure_published"
    version = 2  # 2: a label's mesh is posed like the others, which moves it by a ten-thousandth of a millimetre
    writes = ("hypotheses", "scores", "errors")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        from tasks.evaluation.bodies import smpl_with_joints

        return {
            "generate": self.generation(context),
            "target": str(self.target),
            "score": as_published(context).config.score if self.scorer else None,
            "protocol": self.protocol,
            "body": smpl_with_joints(self.bodies).digest,
            "threads": context.config.ray.threads_per_actor,
        }

    def generation(self, context: Context) -> GenerateConfig:
        """How hypotheses are drawn: in 32 bits, as published. ConfigError for fewer than two."""
        if self.hypotheses < 2:
            raise ConfigError(f"{self.hypotheses} hypotheses: a published evaluation needs 2 or more.")
        full = dict.fromkeys(("precision", "encoder_precision"), "float32")
        return context.config.evaluate.generate.model_copy(update={"hypotheses": self.hypotheses, **full})

    def ids(self, context: Context) -> Sequence[str]:
        return instance_ids(context.store, self.ingests, [self.target])

    def shard_size(self, context: Context) -> int:
        return context.config.evaluate.generate.shard_size

    def worker(self, context: Context) -> ShardWorker:
        from tasks.evaluation.measure_published import PublishedWorker

        return PublishedWorker(self, context)


@dataclass(frozen=True)
class EvaluatePublished(WholeStage):
    """The published figures of the errors that the stage `measurement` measures -> table `metrics`.

    DataError where it left no instance. Run again, it goes on from the shards that are done.
    """

    measurement: MeasurePublished

    name = "evaluate_published"
    writes = ("metrics",)
    on_ray = True  # the stage that it measures with is

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return context.config.evaluate.bootstrap

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (self.measurement.key(context),)

    def models(self, context: Context) -> Sequence[ModelDigest]:
        return self.measurement.models(context)

    def make(self, context: Context) -> Rows:
        from tasks.evaluation.published import evaluated

        return evaluated(self, context)


@dataclass(frozen=True)
class ComparePublished(WholeStage):
    """What two measurements of the split `target`, by one protocol, say of two policies -> table `metrics`.

    Instances that one of them lacks are left out. DataError for a measurement that isn't finished, and where no
    instance is left.
    """

    before: StageKey
    after: StageKey
    target: Target

    name = "compare_published"
    writes = ("metrics",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"target": str(self.target), **context.config.evaluate.bootstrap}

    def make(self, context: Context) -> Rows:
        from tasks.evaluation.published_change import changed

        roles = (("before", self.before), ("after", self.after))
        return changed(self, context, {role: _measured(context, key) for role, key in roles})


def _measured(context: Context, key: StageKey) -> StageRecord:
    record = find(context.store, key)
    if record is None or record.stage != MeasurePublished.name:
        raise DataError(f"There is no finished measurement {key[:12]} in {context.store.url}.")
    return record
