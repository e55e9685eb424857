"""The dry runner: looks up what would become of each stage, and why. Starts nothing and writes nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from flows.run.runner import Runner, begun
from infra.stages import StageRecord, find
from infra.whole import torn_stages
from schemas.ids import ModelDigest, StageKey
from schemas.layers import Configured
from tasks.engine.context import Context
from tasks.engine.stage import Stage, TrainingStage
from tasks.rows.models import model_of

Verdict = Literal["reuse", "resume", "run"]
_Found = TypeVar("_Found")


class Pending(str):
    """The key or digest of something that isn't there yet; the text is the title of the stage that will make it."""


@dataclass(frozen=True)
class Look:
    """What would become of a stage. `key` is None where it depends on something that isn't there yet."""

    title: str
    verdict: Verdict
    why: str
    key: str | None


class DryRunner(Runner):
    """Looks every stage up. What follows a stage that must run can't be there: its key isn't known yet."""

    def __init__(self, context: Context, configured: Configured | None = None) -> None:
        super().__init__(context, configured)
        self.looks: dict[str, Look] = {}
        self.stages: dict[str, Stage] = {}
        """By the title of their look."""
        self.notes: list[str] = []
        self._asked: list[tuple[Stage, StageKey]] = []

    def run(self, stage: Stage, role: str = "") -> StageKey:
        for earlier, answer in self._asked:
            if earlier == stage:  # one stage in two roles: what the first makes, the second finds
                return answer
        title = f"{stage.name} ({role})" if role else stage.name
        self.stages.setdefault(title, stage)
        answer = StageKey(self._look(stage, title))
        self._asked.append((stage, answer))
        return answer

    def train(self, stages: Mapping[str, TrainingStage]) -> tuple[ModelDigest, ...]:
        return tuple(self.model_made_by(self.run(stage, role)) for role, stage in stages.items())

    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        if any(True for _ in _pending(inputs)):
            assumed = f"assumed: all gates {gates.__name__.replace('_', ' ')} hold"
            if assumed not in self.notes:  # each leg of a round asks them
                self.notes.append(assumed)
            return ()
        return tuple(gates(self.context, *inputs))

    def look_up(self, find_out: Callable[..., _Found], *inputs: Any, otherwise: _Found) -> _Found:
        return otherwise if any(True for _ in _pending(inputs)) else find_out(self.context, *inputs)

    def note(self, path: str, data: bytes, *, once: bool = False) -> bytes:
        return self.context.store.read_bytes(path) if once and self.context.store.exists(path) else data

    def model_made_by(self, key: StageKey) -> ModelDigest:
        return ModelDigest(key) if isinstance(key, Pending) else ModelDigest(model_of(self.context.store, key))

    def _look(self, stage: Stage, title: str) -> str:
        awaited = sorted(set(_pending(getattr(stage, field.name) for field in fields(stage))))
        if awaited:
            return self._note(Look(title, "run", f"waits for {', '.join(awaited)}", None), Pending(title))
        spec = stage.spec(self.context)
        key = spec.key
        record = find(self.context.store, key)
        if record is not None:
            return self._note(Look(title, "reuse", _finished_when(record), key), key)
        for torn in torn_stages(self.context.store, [key]):
            why = f"has lost rows, which are put back if its files add up ({torn})"
            return self._note(Look(title, "resume", why, key), Pending(title))
        left = begun(self.context.store, spec)
        if left:
            return self._note(Look(title, "resume", left, key), Pending(title))
        return self._note(Look(title, "run", "no finished stage has its key", key), Pending(title))

    def _note(self, look: Look, answer: str) -> str:
        self.looks.setdefault(look.key or look.title, look)
        return answer


def _pending(values: Any) -> Iterator[str]:
    """All `Pending` among (nested) inputs."""
    for value in values:
        if isinstance(value, Pending):
            yield value
        elif isinstance(value, Mapping):
            yield from _pending(value.values())
        elif isinstance(value, tuple | list):
            yield from _pending(value)


def _finished_when(record: StageRecord) -> str:
    where = f" in round {record.round}" if record.round else ""
    return f"finished {record.finished_at:%Y-%m-%d %H:%M}{where}"
