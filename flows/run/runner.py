"""The runner of a flow: stages as thin Prefect tasks, one after the other.

A flow is written once against `Runner`. `LiveRunner` does the work; `flows.run.dry.DryRunner` only looks what would be
done, so a plan can't disagree with the run that follows it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait

from flows.run.models import check_kind, file_of
from infra.ray_session import room_for
from infra.ray_watch import RayLostError, as_raised
from infra.shared_store import session_for
from infra.stages import StageSpec, find
from infra.store import Store
from infra.whole import finished_keys
from schemas.config.sources import TRAIN
from schemas.errors import ConfigError, DataError, GateError, StoreError
from schemas.ids import ModelDigest, StageKey
from schemas.layers import Configured
from schemas.progress import InRole
from tasks.engine.context import Context
from tasks.engine.stage import Stage, TrainingStage
from tasks.engine.training import needs
from tasks.engine.training_worker import RunFolder
from tasks.import_model import ImportModel
from tasks.report.facts import StageRun
from tasks.rows.models import find_model, has_model, model_of

RETRY_SECONDS = 3.0


class Runner(ABC):
    """Where a flow puts its stages, one after the other. Inputs and answers are stage keys, digests and settings."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @abstractmethod
    def run(self, stage: Stage, role: str = "") -> StageKey:
        """The key of the stage, done. `role` sets apart two stages of one name in one round."""

    @abstractmethod
    def train(self, stages: Mapping[str, TrainingStage]) -> tuple[ModelDigest, ...]:
        """The models that these stages make, by role; in that order."""

    @abstractmethod
    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        """The verdicts of `gates` for these inputs."""

    def train_one(self, stage: TrainingStage) -> ModelDigest:
        """The model that a stage makes."""
        return self.train({"": stage})[0]

    @abstractmethod
    def model_made_by(self, key: StageKey) -> ModelDigest:
        """The model that a stage, which was run, has made."""

    def start(self, said: str, stage: TrainingStage, role: str = "") -> ModelDigest:
        """A model that a campaign begins with: what `stage` trains, or what is said in its place, a digest or a file.

        `role` sets it apart from another model of its kind. Raises DataError where there is no such model, or it is of
        the other kind.
        """
        if said == TRAIN:
            return self.train({role: stage})[0]
        path = file_of(said)
        if path is None:
            return find_model(self.context.store, said, stage.kind)
        digest = self.model_made_by(self.run(ImportModel(path), role=role or stage.kind))
        if has_model(self.context.store, digest):
            check_kind(self.context.store, digest, stage.kind, path)
        return digest

    def in_round(self, number: int) -> None:
        """What follows belongs to this round."""
        self.context = replace(self.context, round=number)


class LiveRunner(Runner):
    """Runs every stage as a Prefect task; starts Ray, once, when the first stage needs it. `ran` lists all stages.

    `may_go_on` is asked before each stage, and raises if the work isn't this run's any more. `configured` says where
    the context's configuration came from.
    """

    def __init__(
        self,
        context: Context,
        resources: ExitStack,
        may_go_on: Callable[[], None] = lambda: None,
        configured: Configured | None = None,
    ) -> None:
        super().__init__(context)
        self.configured = configured or Configured(context.config, {})
        self._resources = resources
        self.may_go_on = may_go_on
        self._ray_runs = False
        self.ran: list[StageRun] = []

    def run(self, stage: Stage, role: str = "") -> StageKey:
        spec, before = self._look(stage)
        if stage.on_ray and before != "reused":
            self._start_ray()
        try:
            key = _as_task(self.context, stage, role)(list(spec.reads))
        except GateError:
            self.ran.append(StageRun(stage.name, role, spec.key, "stopped"))
            raise
        self.ran.append(StageRun(stage.name, role, key, before))
        return key

    def take_in(self, intake: Stage) -> StageKey:
        """The key of what was ingested."""
        self.may_go_on()
        before = finished_keys(self.context.store)
        key = _as_task(self.context, intake, "")([])
        self.ran.append(StageRun(intake.name, "", key, "reused" if key in before else "run"))
        return key

    def train(self, stages: Mapping[str, TrainingStage]) -> tuple[ModelDigest, ...]:
        """As in `Runner`; side by side where Ray has room for all of them at once, else one after the other."""
        looks = {role: self._look(stage) for role, stage in stages.items()}
        missing = {spec.key for spec, before in looks.values() if before != "reused"}
        store = self.context.store
        if len(missing) < len(stages) or len(stages) == 1 or not self._has_room(len(stages)):
            return tuple(model_of(store, self.run(stage, role)) for role, stage in stages.items())
        futures = [
            _as_task(self.context, stage, role).submit(list(looks[role][0].reads)) for role, stage in stages.items()
        ]
        wait(futures)
        for future in futures:
            future.result()  # raises what the training raised
        self.ran += [StageRun(stages[role].name, role, spec.key, before) for role, (spec, before) in looks.items()]
        return tuple(model_of(store, spec.key) for spec, _ in looks.values())

    def model_made_by(self, key: StageKey) -> ModelDigest:
        return model_of(self.context.store, key)

    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        verdicts = tuple(gates(self.context, *inputs))
        for verdict in verdicts:
            self.context.progress.say(f"gate {verdict}{f' ({verdict.note})' if verdict.note else ''}")
        return verdicts

    def _look(self, stage: Stage) -> tuple[StageSpec, str]:
        """What the stage is going to do, and how much of it an earlier run did: "reused", "resumed" or "run"."""
        self.may_go_on()
        spec = stage.spec(self.context)
        if find(self.context.store, spec.key):
            return spec, "reused"
        return spec, "resumed" if begun(self.context.store, spec) else "run"

    def _has_room(self, trainings: int) -> bool:
        if self.context.in_process:
            return False
        self._start_ray()
        settings = self.context.config.ray
        return room_for(needs(settings)) >= trainings * settings.trainers

    def _start_ray(self) -> None:
        if not self._ray_runs and not self.context.in_process:
            self.context.progress.say("starting Ray ...")
            settings = self.context.config.ray
            self._resources.enter_context(session_for(self.context.store, settings, settings.threads_per_actor))
            self._ray_runs = True


def begun(store: Store, spec: StageSpec) -> str:
    """What an earlier run left of an unfinished stage, in words; empty if it has not begun."""
    shards = len(store.whole_files(f"shards/{spec.key}"))
    if shards:
        return f"shards done by an earlier run: {shards}"
    training = RunFolder(store, f"{spec.name}-{spec.key[:16]}")
    return "an earlier run has begun the training" if store.exists(training.ray_folder) else ""


def _as_task(context: Context, stage: Stage, role: str) -> Task[[list[str]], StageKey]:
    """The Prefect task of one stage of one run. Prefect sees the keys of what it reads; the rest stays in here."""
    if role:
        context = replace(context, progress=InRole(context.progress, stage.name, role))

    @task(
        name=stage.name,
        task_run_name=f"{stage.name} ({role})" if role else stage.name,
        retries=stage.retries,
        retry_delay_seconds=RETRY_SECONDS,
        retry_condition_fn=_worth_another_try,
        cache_policy=NO_CACHE,
        persist_result=False,
        log_prints=False,
    )
    def staged(reads: list[str]) -> StageKey:
        try:
            with as_raised():
                return StageKey(stage.run(context).key)
        except Exception:
            context.store.check_is_there()  # here too: Prefect reports what it sees, and tries again
            raise

    return staged


def _worth_another_try(_task: Any, _run: Any, state: State[Any]) -> bool:
    """A worker that died may live the second time; wrong input stays wrong."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, ConfigError | DataError | GateError | StoreError | RayLostError)
