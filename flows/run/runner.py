"""The stages as a flow sees them, and the line that runs them: thin Prefect tasks around the functions of `tasks`.

A flow is written once against `Line`. `Running` does the work; `flows.cli.plan.Looking` only looks what would be done, so
a plan can't disagree with the run that follows it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait

from infra.ray_session import room_for
from infra.ray_watch import RayLostError, as_raised
from infra.shared_store import session_for
from infra.stages import StageSpec, find
from infra.store import Store
from infra.tables import finished_keys
from schemas.errors import ConfigError, DataError, GateError, StoreError
from schemas.progress import SILENT, InRole
from tasks.engine.context import Context
from tasks.report.facts import StageRun
from tasks.rows.models import model_of
from tasks.train.stage import needs
from tasks.train.worker import RunFolder

RETRY_SECONDS = 3.0


@dataclass(frozen=True)
class Stage:
    """A stage: what names its work (`spec`) and what does it (`work`); both take a Context and the same inputs.

    `retries`: how often Prefect starts it again. Trainings have none here: Ray starts a dead worker again.
    """

    name: str
    spec: Callable[..., StageSpec]
    work: Callable[..., Any]
    retries: int = 1
    on_ray: bool = True


@dataclass(frozen=True)
class Intake:
    """A stage that takes in what people bring. Only its own reading tells its key, so no plan can look it up before;
    it finds out by itself whether it was done, and starts Ray if there is work."""

    name: str
    work: Callable[..., Any]
    retries: int = 1


class Line(ABC):
    """Where a flow puts its stages, one after the other. Inputs and answers are stage keys, digests and settings."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @abstractmethod
    def do(self, stage: Stage, *inputs: Any, role: str = "", **settings: Any) -> str:
        """The key of the stage for these inputs, done. `role` sets apart two stages of one name in one round."""

    @abstractmethod
    def model(self, stage: Stage, *inputs: Any, role: str = "", **settings: Any) -> str:
        """The digest of the model that a training stage makes."""

    @abstractmethod
    def models(self, stage: Stage, inputs: Mapping[str, Sequence[Any]], **settings: Any) -> tuple[str, ...]:
        """The digests of the models that one training stage makes of each of these inputs, by role; in that order."""

    @abstractmethod
    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        """The verdicts of `gates` for these inputs."""

    def in_round(self, number: int) -> None:
        """What follows belongs to this round."""
        self.context = replace(self.context, round=number)


class Running(Line):
    """Runs every stage as a Prefect task; starts Ray, once, when the first stage needs it. `ran` lists all stages.

    `may_go_on` is asked before each stage, and raises if the work isn't this run's any more.
    """

    def __init__(self, context: Context, resources: ExitStack, may_go_on: Callable[[], None] = lambda: None) -> None:
        super().__init__(context)
        self._resources = resources
        self.may_go_on = may_go_on
        self._ray_runs = False
        self.ran: list[StageRun] = []

    def do(self, stage: Stage, *inputs: Any, role: str = "", **settings: Any) -> str:
        spec, before = self._look(stage, inputs, settings)
        if stage.on_ray and before != "reused":
            self._start_ray()
        try:
            _as_task(self.context, stage, inputs, settings, role)(list(spec.reads))
        except GateError:
            self.ran.append(StageRun(stage.name, role, spec.key, "stopped"))
            raise
        self.ran.append(StageRun(stage.name, role, spec.key, before))
        return spec.key

    def take_in(self, intake: Intake, *inputs: Any, **settings: Any) -> str:
        """The key of what was ingested."""
        self.may_go_on()
        before = finished_keys(self.context.store)
        key = _as_task(self.context, intake, inputs, settings, "")([])
        self.ran.append(StageRun(intake.name, "", key, "reused" if key in before else "run"))
        return key

    def model(self, stage: Stage, *inputs: Any, role: str = "", **settings: Any) -> str:
        return model_of(self.context.store, self.do(stage, *inputs, role=role, **settings))

    def models(self, stage: Stage, inputs: Mapping[str, Sequence[Any]], **settings: Any) -> tuple[str, ...]:
        """As in `Line`; side by side where Ray has room for all of them at once, else one after the other."""
        looks = {role: self._look(stage, given, settings) for role, given in inputs.items()}
        missing = {spec.key for spec, before in looks.values() if before != "reused"}
        if len(missing) < len(inputs) or not self._has_room(len(inputs)):
            return tuple(self.model(stage, *given, role=role, **settings) for role, given in inputs.items())
        futures = [
            _as_task(self.context, stage, given, settings, role).submit(list(looks[role][0].reads))
            for role, given in inputs.items()
        ]
        wait(futures)
        for future in futures:
            future.result()  # raises what the training raised
        self.ran += [StageRun(stage.name, role, spec.key, before) for role, (spec, before) in looks.items()]
        return tuple(model_of(self.context.store, spec.key) for spec, _ in looks.values())

    def _look(self, stage: Stage, inputs: Sequence[Any], settings: Mapping[str, Any]) -> tuple[StageSpec, str]:
        """What the stage is going to do, and how much of it an earlier run did: "reused", "resumed" or "run"."""
        self.may_go_on()
        context = self.context
        spec = stage.spec(replace(context, progress=SILENT), *inputs, **settings)
        if find(context.store, spec.key):
            return spec, "reused"
        return spec, "resumed" if begun(context.store, spec) else "run"

    def _has_room(self, trainings: int) -> bool:
        if self.context.in_process:
            return False
        self._start_ray()
        settings = self.context.config.ray
        return room_for(needs(settings)) >= trainings * settings.trainers

    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        verdicts = tuple(gates(self.context, *inputs))
        for verdict in verdicts:
            self.context.progress.say(f"gate {verdict}")
        return verdicts

    def _start_ray(self) -> None:
        if not self._ray_runs and not self.context.in_process:
            self.context.progress.say("starting Ray ...")
            settings = self.context.config.ray
            self._resources.enter_context(session_for(self.context.store, settings, settings.threads_per_actor))
            self._ray_runs = True


def begun(store: Store, spec: StageSpec) -> str:
    """What an earlier run left of an unfinished stage, for people; empty if it has not begun."""
    done = len(store.whole_files(f"shards/{spec.key}"))
    if done:
        return f"shards done by an earlier run: {done}"
    training = RunFolder(store, f"{spec.name}-{spec.key[:16]}")
    return "an earlier run has begun the training" if store.exists(training.ray_folder) else ""


def _as_task(
    context: Context, stage: Stage | Intake, inputs: Sequence[Any], settings: Mapping[str, Any], role: str
) -> Task[[list[str]], str]:
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
    def staged(reads: list[str]) -> str:
        try:
            with as_raised():
                return str(stage.work(context, *inputs, **settings).key)
        except Exception:
            context.store.check_is_there()  # here too: Prefect tells of what it sees, and tries again
            raise

    return staged


def _worth_another_try(_task: Any, _run: Any, state: State[Any]) -> bool:
    """A worker that died may live the second time; wrong input stays wrong."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, ConfigError | DataError | GateError | StoreError | RayLostError)
