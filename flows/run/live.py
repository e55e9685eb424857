"""The runner that does the work: stages as thin Prefect tasks, one after the other."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib import import_module
from threading import Thread
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait

from flows.run.runner import Runner, begun
from infra.ray_session import room_for
from infra.ray_watch import RayLostError, as_raised
from infra.shared_store import session_for
from infra.stages import StageSpec, find
from infra.whole import finished_keys
from schemas.errors import ConfigError, DataError, GateError, StoreError
from schemas.ids import ModelDigest, StageKey
from schemas.layers import Configured
from schemas.progress import InRole
from tasks.engine.context import Context
from tasks.engine.stage import Stage, TrainingStage
from tasks.report.facts import StageRun
from tasks.rows.models import model_of

RETRY_SECONDS = 3.0
_LATER = ("tasks.engine.training", "tasks.compare", "tasks.report.fill", "tasks.report.page")
"""Modules with heavy libraries that trainings, gates and the report need of this process."""


class LiveRunner(Runner):
    """Runs every stage as a Prefect task; starts Ray, once, when the first stage needs it. `ran` lists all stages.

    `may_go_on` is asked before each stage, and raises if the work isn't this run's any more.
    """

    def __init__(
        self,
        context: Context,
        resources: ExitStack,
        may_go_on: Callable[[], None] = lambda: None,
        configured: Configured | None = None,
    ) -> None:
        super().__init__(context, configured)
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

    def begin_round(self) -> None:
        """What an earlier round of this run did is no part of the next one."""
        self.ran = []
        self.context = replace(self.context, round=None)

    def take_in(self, intake: Stage) -> StageKey:
        """The key of what was ingested."""
        self.may_go_on()
        before = finished_keys(self.context.store)
        key = _as_task(self.context, intake, "")([])
        self.ran.append(StageRun(intake.name, "", key, "reused" if key in before else "run"))
        return key

    def train(self, stages: Mapping[str, TrainingStage]) -> tuple[ModelDigest, ...]:
        """As in `Runner`; side by side, as many at once as Ray has room for."""
        looks = {role: self._look(stage) for role, stage in stages.items()}
        # of two with one key the second finds what the first has made
        roles_of = {spec.key: role for role, (spec, before) in reversed(looks.items()) if before != "reused"}
        missing = [role for role in stages if role in roles_of.values()]
        at_once = self._room() if len(missing) > 1 else 1
        together = [missing[first : first + at_once] for first in range(0, len(missing), at_once)]
        for roles in [roles for roles in together if len(roles) > 1]:
            futures = [_as_task(self.context, stages[role], role).submit(list(looks[role][0].reads)) for role in roles]
            wait(futures)
            for future in futures:
                future.result()  # raises what the training raised
            self.ran += [StageRun(stages[role].name, role, looks[role][0].key, looks[role][1]) for role in roles]
        done = {role for roles in together if len(roles) > 1 for role in roles}
        for role, stage in stages.items():
            if role not in done:
                self.run(stage, role)
        return tuple(model_of(self.context.store, spec.key) for spec, _ in looks.values())

    def note(self, path: str, data: bytes, *, once: bool = False) -> bytes:
        self.may_go_on()
        self.context.store.atomic_write(path, data, replace=not once)
        return self.context.store.read_bytes(path)

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
        return spec, "resumed" if not stage.done_ahead and begun(self.context.store, spec) else "run"

    def _room(self) -> int:
        """How many trainings may run at once."""
        if self.context.in_process:
            return 1
        self._start_ray()
        settings = self.context.config.ray
        return max(1, room_for(settings.of_trainer) // settings.trainers)

    def _start_ray(self) -> None:
        if not self._ray_runs and not self.context.in_process:
            self.context.progress.say("starting Ray ...")
            settings = self.context.config.ray
            # while Ray starts, and while its processes do the first stages, this process waits
            Thread(target=_load_later, name="loading", daemon=True).start()
            self._resources.enter_context(session_for(self.context.store, settings, settings.threads_per_actor))
            self._ray_runs = True


def _load_later() -> None:
    for name in _LATER:
        with suppress(ImportError):  # it is said where the module is needed
            import_module(name)


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
