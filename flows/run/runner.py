"""What a flow hands its stages to. A flow is written once against `Runner`, so a plan can't disagree with its run.

`flows.run.live.LiveRunner` does the work; `flows.run.dry.DryRunner` only looks what would be done. What a plan goes
through imports neither Prefect, Ray nor torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from flows.run.models import check_kind, file_of
from infra.stages import StageSpec
from infra.store import Store
from schemas.config.sources import TRAIN
from schemas.ids import ModelDigest, StageKey
from schemas.layers import Configured
from tasks.engine.context import Context
from tasks.engine.run_folder import RunFolder
from tasks.engine.stage import Stage, TrainingStage
from tasks.rows.models import find_model, has_model
from tasks.stages.import_model import ImportModel

_Found = TypeVar("_Found")


class Runner(ABC):
    """Where a flow puts its stages, one after the other. Inputs and answers are stage keys, digests and settings.

    `configured` says where the context's configuration came from; without it, nobody said anything of any field.
    """

    def __init__(self, context: Context, configured: Configured | None = None) -> None:
        self.context = context
        self.configured = configured or Configured(context.config, {})

    @abstractmethod
    def run(self, stage: Stage, role: str = "") -> StageKey:
        """The key of the stage, done. `role` sets apart two stages of one name in one round."""

    @abstractmethod
    def train(self, stages: Mapping[str, TrainingStage]) -> tuple[ModelDigest, ...]:
        """The models that these stages make, by role; in that order."""

    @abstractmethod
    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        """The verdicts of `gates` for these inputs."""

    def look_up(self, find_out: Callable[..., _Found], *inputs: Any, otherwise: _Found) -> _Found:
        """What `find_out` says of the context and these inputs; `otherwise` where a plan has no such inputs yet."""
        return find_out(self.context, *inputs)

    @abstractmethod
    def note(self, path: str, data: bytes, *, once: bool = False) -> bytes:
        """What a small file of the store holds after `data` was written; if that is to be done `once`, what it held
        before, if it was there."""

    def train_one(self, stage: TrainingStage) -> ModelDigest:
        """The model that a stage makes."""
        return self.train({"": stage})[0]

    @abstractmethod
    def model_made_by(self, key: StageKey) -> ModelDigest:
        """The model that a stage, which was run, has made."""

    def start(self, said: str, stage: TrainingStage, role: str = "", raw: bool = False) -> ModelDigest:
        """A model that a campaign begins with: what `stage` trains, or what is said in its place, a digest or a file.

        `role` sets it apart from another model of its kind; `raw` takes a file's raw weights. Raises DataError where
        there is no such model, or it is of the other kind.
        """
        if said == TRAIN:
            return self.train({role: stage})[0]
        path = file_of(said)
        if path is None:
            return find_model(self.context.store, said, stage.kind)
        digest = self.model_made_by(self.run(ImportModel(path, "raw" if raw else None), role=role or stage.kind))
        if has_model(self.context.store, digest):
            check_kind(self.context.store, digest, stage.kind, path)
        return digest

    def in_round(self, number: int) -> None:
        """What follows belongs to this round."""
        self.context = replace(self.context, round=number)


def begun(store: Store, spec: StageSpec) -> str:
    """What an earlier run left of an unfinished stage, in words; empty if it has not begun."""
    shards = len(store.whole_files(f"shards/{spec.key}"))
    if shards:
        return f"shards done by an earlier run: {shards}"
    training = RunFolder.of(store, spec.name, spec.key)
    return "an earlier run has begun the training" if store.exists(training.ray_folder) else ""
