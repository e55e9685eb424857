"""What a stage is: a frozen dataclass, named as the diagram names it, that does its work on a context.

Its fields, and what `key_config` takes of the configuration, decide what it makes: together with its name, its version,
the stages that it reads and the models that it uses they come to its key. A key that a commit covers is never worked on
again. A flow runs stages, a plan only looks their keys up: for its sake, and that of all commands that only read, a
stage's module imports neither torch nor Ray. Those come with the work, where that is done.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import pyarrow as pa
from pydantic import BaseModel

from infra.memory import give_memory_back
from infra.repair import find_or_mend
from infra.stages import Failure, StageSpec, commit_rows, now
from schemas.config.networks import PolicyConfig, ScorerConfig
from schemas.config.training import AlignConfig, TrainBaseConfig, TrainCleanConfig, TrainScorerConfig
from schemas.ids import ModelDigest, StageKey
from schemas.progress import SILENT
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker, StageResult
from tasks.engine.run_folder import RunFolder

if TYPE_CHECKING:
    import torch

    from models.checkpoints.ours import Kind
    from tasks.engine.loop import Recipe
    from tasks.engine.training_worker import Builder


@dataclass(frozen=True)
class Stage(ABC):
    """A stage with its inputs. Its key is known before it is run; that of what people bring needs a look at it."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Rises when the stage's meaning changes."""
    writes: ClassVar[tuple[str, ...]] = ()
    """The tables that get rows of it, beside `failures`."""
    retries: ClassVar[int] = 1
    """How often Prefect starts it again."""
    on_ray: ClassVar[bool] = True
    done_ahead: ClassVar[bool] = False
    """Whether the stage that it reads does its shards, too: finding some means no earlier run."""

    @abstractmethod
    def run(self, context: Context) -> StageResult:
        """Do the work, or find it done."""

    @abstractmethod
    def key_config(self, context: Context) -> BaseModel | Mapping[str, Any]:
        """What of the fields and of the configuration counts towards the key."""

    def reads(self, context: Context) -> Sequence[StageKey]:
        """The stages whose rows it reads, in the order of the fields that name them; it counts."""
        return self._named(StageKey)

    def models(self, context: Context) -> Sequence[ModelDigest]:
        """The models that it uses, in the order of the fields that name them; it counts."""
        return self._named(ModelDigest)

    def _named(self, kind: Any) -> list[Any]:
        """What the fields hold that are of this type, or a tuple of it, or may be left out."""
        named: list[Any] = []
        for one in fields(self):
            value = getattr(self, one.name)
            if kind in (one.type, *get_args(one.type)) and value is not None:
                named += [value] if isinstance(value, str) else value
        return named

    def spec(self, context: Context) -> StageSpec:
        """What the stage is going to do; campaign and round are recorded, and do not count towards the key."""
        return StageSpec(
            self.name,
            self.version,
            self.key_config(context),
            reads=tuple(self.reads(context)),
            models=tuple(self.models(context)),
            campaign=context.campaign,
            in_round=context.round,
        )

    def key(self, context: Context) -> StageKey:
        """The key that the stage has here."""
        return self.spec(context).key


@dataclass(frozen=True)
class ShardedStage(Stage):
    """A stage that is done shard by shard, in processes of Ray that build a worker once."""

    unit: ClassVar[str] = "instances"

    @abstractmethod
    def ids(self, context: Context) -> Sequence[str] | pa.StringArray:
        """The units, whose order doesn't count; an Arrow array, where there may be a million."""

    @abstractmethod
    def shard_size(self, context: Context) -> int:
        """Units of a shard."""

    @abstractmethod
    def worker(self, context: Context) -> ShardWorker:
        """What turns a shard into rows; called in the process that does the work."""

    def crops_of(self) -> Sequence[StageKey]:
        """The ingests whose crops its shards read: those of the field `ingests`, where it has one."""
        return tuple(getattr(self, "ingests", ()))

    def device(self, context: Context) -> str:
        """Where its workers compute."""
        return context.config.ray.actor_device if self.on_ray else "cpu"

    def max_failed_share(self, context: Context) -> float:
        """The share of units that may fail."""
        return context.config.gates.max_failed_share

    def run(self, context: Context) -> StageResult:
        """Do what is missing. GateError if too many units failed, as `run_sharded` says."""
        from tasks.engine.sharded import run_sharded

        ray = context.config.ray
        result = run_sharded(
            context.store,
            self.spec(context),
            self.ids(context),
            self.shard_size(context),
            partial(self.worker, replace(context, progress=SILENT)),
            tables=self.writes,
            progress=context.progress,
            unit=self.unit,
            settings=ray,
            max_failed_share=self.max_failed_share(context),
            device=self.device(context),
            in_process=context.in_process or not self.on_ray,
            crops_of=self.crops_of(),
        )
        if not result.reused:
            give_memory_back()  # what was known of its shards, of which there may be ten thousand
        return result


@dataclass(frozen=True)
class Rows:
    """What a stage that is done in one go has made: rows by table, and the units that did not make it."""

    tables: Mapping[str, pa.Table]
    failures: Sequence[Failure] = ()
    units: int | None = None
    """How many went in; None where nothing is counted."""
    summary: str = ""


@dataclass(frozen=True)
class WholeStage(Stage):
    """A stage that is done in one go, in this process, and committed at once."""

    on_ray: ClassVar[bool] = False

    @abstractmethod
    def make(self, context: Context) -> Rows:
        """Do the work."""

    def is_kept(self, context: Context) -> bool:
        """Whether what a finished stage left beside its rows is still there."""
        return True

    def run(self, context: Context) -> StageResult:
        """Do the work and commit it, unless a commit covers it."""
        spec = self.spec(context)
        record = find_or_mend(context.store, spec, context.progress.say)
        if record is not None and self.is_kept(context):
            context.progress.say(f"{self.name}: reused ({spec.key[:12]})")
            return StageResult(record, reused=True)
        started_at = now()
        rows = self.make(context)
        record = commit_rows(
            context.store,
            spec,
            rows.tables,
            units_in=rows.units,
            failures=rows.failures,
            started_at=started_at,
        )
        if rows.summary:
            context.progress.say(f"{self.name}: {rows.summary}")
        return StageResult(record, reused=False)


@dataclass(frozen=True)
class TrainingStage(Stage):
    """A stage that trains a model. A worker that dies is started again by Ray, so Prefect starts nothing again."""

    kind: ClassVar["Kind"] = "policy"
    writes: ClassVar[tuple[str, ...]] = ("models", "curves")
    retries: ClassVar[int] = 0

    beside_control: ClassVar[bool] = False
    """Whether a control is trained beside it, so that fewer threads are left for each."""

    def settings(self, context: Context) -> TrainBaseConfig | TrainScorerConfig | AlignConfig | TrainCleanConfig:
        """How it is trained: the section of the configuration that has its name."""
        return getattr(context.config, self.name)

    def network(self, context: Context) -> PolicyConfig | ScorerConfig:
        """What is trained: the configuration's network of this kind, unless one goes on from a model's."""
        return getattr(context.config, self.kind)

    def threads(self, context: Context) -> int:
        """What torch may use in each training worker; it reaches the last bits."""
        ray = context.config.ray
        return ray.threads_beside_control if self.beside_control else ray.threads_per_trainer

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"train": self.settings(context), **context.config.ray.decides_training(self.threads(context))}

    @abstractmethod
    def recipe(self, context: Context, run: RunFolder, device: "torch.device") -> "Recipe":
        """The data and the loss; called in each training worker."""

    def builder(self, context: Context) -> "Builder":
        """What makes the recipe in a training worker, which may be on another machine."""
        return partial(self.recipe, replace(context, progress=SILENT))

    def run(self, context: Context) -> StageResult:
        """Train, go on with a training that was begun, or find it done; as `train_stage` says."""
        from tasks.engine.training import train_stage

        return train_stage(
            context,
            self.spec(context),
            self.builder(context),
            kind=self.kind,
            network=self.network(context),
            optimiser=self.settings(context).optimiser,
            threads=self.threads(context),
            parents=tuple(dict.fromkeys(self.models(context))),
        )
