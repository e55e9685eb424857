"""plan: what the next round would reuse, resume and run, and why. Starts nothing and writes nothing.

It walks the very lines that a round walks, with a `Line` that looks stages up instead of running them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from flows.bootstrap import Ground, lay_ground
from flows.clean_round import clean_and_measure
from flows.dpo_round import align_and_measure
from flows.run.round import Kind, coming_round
from flows.run.runner import Line, Stage, begun
from flows.run.user_pictures import UserPictures
from infra import rounds
from infra.stages import StageRecord, find
from infra.whole import torn_stages
from tasks.engine.context import Context
from tasks.rows.models import model_of

Verdict = Literal["reuse", "resume", "run"]


class Pending(str):
    """The key or digest of something that isn't there yet; the text is the title of the stage that will make it."""


@dataclass(frozen=True)
class Look:
    """What would become of a stage. `key` is None where it depends on something that isn't there yet."""

    title: str
    verdict: Verdict
    why: str
    key: str | None


@dataclass(frozen=True)
class Plan:
    """The next round, stage by stage."""

    number: int
    resumed: bool
    looks: tuple[Look, ...]
    notes: tuple[str, ...]


class Looking(Line):
    """Looks every stage up. What stands behind a stage that must run can't be there: its key isn't known yet."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.looks: dict[str, Look] = {}
        self.notes: list[str] = []
        self._asked: list[tuple[Any, str]] = []

    def do(self, stage: Stage, *inputs: Any, role: str = "", **settings: Any) -> str:
        asked = (stage.name, inputs, settings)
        for known, answer in self._asked:
            if known == asked:  # one stage in two roles: what the first makes, the second finds
                return answer
        answer = self._look(stage, f"{stage.name} ({role})" if role else stage.name, inputs, settings)
        self._asked.append((asked, answer))
        return answer

    def _look(self, stage: Stage, title: str, inputs: tuple[Any, ...], settings: dict[str, Any]) -> str:
        awaited = sorted(set(_pending([*inputs, *settings.values()])))
        if awaited:
            return self._note(Look(title, "run", f"waits for {', '.join(awaited)}", None), Pending(title))
        spec = stage.spec(self.context, *inputs, **settings)
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

    def model(self, stage: Stage, *inputs: Any, role: str = "", **settings: Any) -> str:
        key = self.do(stage, *inputs, role=role, **settings)
        return key if isinstance(key, Pending) else model_of(self.context.store, key)

    def models(self, stage: Stage, inputs: Mapping[str, Sequence[Any]], **settings: Any) -> tuple[str, ...]:
        return tuple(self.model(stage, *given, role=role, **settings) for role, given in inputs.items())

    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        if any(True for _ in _pending(inputs)):
            self.notes.append(f"assumed: all gates {gates.__name__.replace('_', ' ')} hold")
            return ()
        return tuple(gates(self.context, *inputs))

    def _note(self, look: Look, answer: str) -> str:
        self.looks.setdefault(look.key or look.title, look)
        return answer


def plan_round(
    context: Context, kind: Kind = "dpo", own: UserPictures | None = None, labels: str | None = None
) -> Plan:
    """What `adhmr run` (dpo) or `adhmr clean` would do now with the same options."""
    looking = Looking(context)
    ground = lay_ground(looking)
    seen = rounds.state(context.store, context.config.campaign)
    opened, resumed = coming_round(seen, kind, ground.base)
    looking.in_round(opened.number)
    work: Callable[[Line, Ground, Any], Any] = (
        partial(align_and_measure, own=own) if kind == "dpo" else partial(clean_and_measure, own=own, labels=labels)
    )
    verdicts = work(looking, ground, opened)
    if kind == "dpo" and verdicts.policy is None:
        looking.notes.append("a gate before training does not hold: the round will end there and keep its policy.")
    looking.looks["report"] = Look("report", "run", "every round ends with it", None)
    return Plan(opened.number, resumed, tuple(looking.looks.values()), tuple(looking.notes))


def _pending(values: Any) -> Any:
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
