"""How a step ended: what its stages counted, the model that it made, and the commands that may come next."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from infra.stages import StageRecord, find, records
from infra.store import Store
from infra.tables import read
from models.checkpoints.ours import Kind
from schemas.errors import DataError
from schemas.ids import ModelDigest
from tasks.engine.context import Context
from tasks.rows.models import model_of
from tasks.stages.clean import Keep
from tasks.stages.draw import Draw
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import Align, TrainScorer

DIGITS: Final = 12
"""Of keys and digests that people are shown; more than enough to name one."""
Command = tuple[str, ...]
"""The words of a command, without `adhmr`."""


@dataclass(frozen=True)
class Ended:
    """A step that is over. `stages` in their order, the step's own last; `model` if it trained one."""

    stages: tuple[StageRecord, ...]
    model: ModelDigest | None
    following: tuple[Command, ...]
    """Commands that may come next. A word in capitals is for the reader to replace."""

    def lines(self) -> Iterator[str]:
        """All of it as text."""
        for record in self.stages:
            tally = record.tally
            counts = f"{tally.ok} ok, {tally.filtered} filtered, {tally.failed} failed"
            yield f"{record.stage} {record.stage_key[:DIGITS]}: {counts}; {written(record)}"
        if self.model is not None:
            yield f"model {self.model[:DIGITS]}"
        yield from (f"next: adhmr {' '.join(words)}" for words in self.following)


def written(record: StageRecord) -> str:
    """The rows that a stage wrote, by table."""
    return ", ".join(f"{rows:,} {table}" for table, rows in record.rows.items() if rows and table != "failures")


def ended(context: Context, key: str) -> Ended:
    """How the step ended whose last stage has this key. DataError if no such stage is finished."""
    store = context.store
    last = finished_stage(store, key)
    before = [finished_stage(store, one) for one in last.reads] if last.stage == Keep.name else []
    model = model_of(store, last.stage_key) if last.rows.get("models") else None
    return Ended((*before, last), model, tuple(_following(context, last, model)))


def finished_stage(store: Store, key: str) -> StageRecord:
    """The record of a stage. DataError if no such stage is finished."""
    record = find(store, key)
    if record is None:
        raise DataError(f"There is no finished stage {key} in {store.url}.")
    return record


def _following(context: Context, last: StageRecord, model: ModelDigest | None) -> Iterator[Command]:
    store, mine = context.store, last.stage_key[:DIGITS]
    match last.stage:
        case Generate.name:
            yield ("score", "--hypotheses", mine, "--scorer", _newest_model(store, "scorer"))
        case TrainScorer.name if model is not None:
            waiting = [record.stage_key for record in records(store, Generate.name)]
            if waiting:
                yield ("score", "--hypotheses", waiting[-1][:DIGITS], "--scorer", model[:DIGITS])
            else:
                yield ("generate", "--data", "DATASET/SPLIT", "--policy", last.models[0][:DIGITS])
        case Score.name | Draw.name:
            yield ("pair", "--scores", mine)
        case Pair.name:
            drawn = finished_stage(store, last.reads[0])
            policy = (
                drawn.models[0][:DIGITS]
                if drawn.stage in (Generate.name, Draw.name)
                else _newest_model(store, "policy")
            )
            replay = ("--replay", "DATASET/SPLIT") if context.config.align.replays else ()
            yield ("align", "--pairs", mine, "--policy", policy, *replay)
            yield ("export", "--to", "trl", "--pair-set", mine, "--target", "pairs")
        case Keep.name:
            yield ("export", "--to", "humandata", "--label-set", mine, "--target", "kept.npz")
        case Align.name if model is not None:
            yield (
                *("evaluate", "--protocol", "published", "--data", "DATASET/SPLIT"),
                *("--policy", model[:DIGITS]),
            )


def _newest_model(store: Store, kind: Kind) -> str:
    """The newest model of a kind, or the word for one."""
    rows = read(store, "models", columns=["digest", "kind", "created_at"]).sort_by("created_at").to_pylist()
    digests = [row["digest"][:DIGITS] for row in rows if row["kind"] == kind]
    return digests[-1] if digests else kind.upper()
