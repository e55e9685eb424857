"""How much a stage has to do: that of a plan, by its fields and what went before it, and that of a record, by its rows.

The two count alike: hypotheses where a model draws, scores or is measured, steps where one is trained, else units.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flows.run.dry import Pending
from infra.stages import StageRecord, find
from schemas.ids import StageKey, Target
from schemas.splits import SYNTHETIC
from tasks.engine.context import Context
from tasks.engine.stage import ShardedStage, Stage, TrainingStage
from tasks.ingest.stage import Ingest
from tasks.rows.instances import sorted_ids
from tasks.rows.part import Part
from tasks.stages.clean import Keep, PseudoLabel, ScoreLabels
from tasks.stages.draw import Draw
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.published import MeasurePublished
from tasks.stages.review import ApplyReviews
from tasks.stages.score import Score
from tasks.stages.synthesize import Synthesize

_BY_ROWS: Final = {"generate": "hypotheses", "evaluate": "hypotheses", "measure_published": "hypotheses"} | {
    "score": "scores",
    "draw": "scores",
}
"""The table whose rows say how much a stage did, where that is not its units."""


@dataclass(frozen=True)
class Work:
    """`units` of a stage, `items` in all that its time goes with, and the shards that it is cut into."""

    units: int
    items: int
    shards: int = 1


class Workload:
    """The work of the stages of a plan. What one that is to run will leave counts for those that wait for it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._known: dict[str, Work] = {}

    def of(self, stage: Stage, title: str) -> Work | None:
        """None where only a look at the source would tell."""
        work = self._of(stage)
        if work is not None:
            self._known[title] = work
        return work

    def _of(self, stage: Stage) -> Work | None:
        config = self.context.config
        match stage:
            case TrainingStage():
                return Work(1, stage.settings(self.context).optimiser.steps)
            case Synthesize():
                return self._cut(stage, len(stage.ids(self.context)))
            case Ingest():
                return _sharded(sum(map(self._made, SYNTHETIC)), 1, config.ingest.shard_size)
            case Generate() | Draw() | PseudoLabel():
                if isinstance(stage, PseudoLabel):
                    drawn = 1 if stage.scorer is None else config.generate.hypotheses
                else:
                    drawn = stage.config.hypotheses
                return self._cut(stage, self._people(stage.ingests, stage.targets, stage.part), drawn)
            case Evaluate():
                drawn = stage.config.generate.hypotheses
                return self._cut(stage, self._people(stage.ingests, stage.targets), drawn)
            case MeasurePublished():
                return self._cut(stage, self._people(stage.ingests, (stage.target,)), stage.hypotheses)
            case Score() | Pair():
                drawn_for = self._earlier(stage.generation)
                if drawn_for is None or not drawn_for.units:
                    return None
                each = drawn_for.items // drawn_for.units if isinstance(stage, Score) else 1
                return self._cut(stage, drawn_for.units, each)
            case ApplyReviews():
                if stage.people is not None:
                    return self._cut(stage, len(stage.said))
                made = find(self.context.store, stage.pairs)
                return None if made is None else self._cut(stage, made.rows.get("pairs", 0))
            case ScoreLabels():
                labels = self._earlier(stage.labels)
                return None if labels is None else self._cut(stage, labels.units)
            case Keep():
                labels = self._earlier(stage.labels)
                return None if labels is None else Work(labels.units, labels.units)
            case ShardedStage():
                return None
        return None if stage.name == "ingest" else Work(1, 1)

    def _cut(self, stage: ShardedStage, units: int | None, each: int = 1) -> Work | None:
        return None if units is None else _sharded(units, each, stage.shard_size(self.context))

    def _people(
        self, ingests: tuple[StageKey, ...], targets: tuple[Target, ...], part: Part | None = None
    ) -> int | None:
        if not any(isinstance(key, Pending) for key in ingests):
            return len(sorted_ids(self.context.store, ingests, targets, part))
        if not set(targets) <= set(SYNTHETIC):
            return None
        share = 1.0 if part is None else part.high - part.low
        return round(share * sum(map(self._made, targets)))

    def _made(self, target: Target) -> int:
        """The synthetic people of a split."""
        return int(getattr(self.context.config.synthesize, f"{target.dataset}_{target.split}"))

    def _earlier(self, key: StageKey) -> Work | None:
        if isinstance(key, Pending):
            return self._known.get(key)
        record = find(self.context.store, key)
        return None if record is None else recorded(record)


def recorded(record: StageRecord) -> Work:
    """What a finished stage did."""
    # a filter looks at the labels that it drops, too
    units = record.units_in if record.stage == Keep.name else record.tally.ok or record.units_in
    items = record.rows.get(_BY_ROWS.get(record.stage, ""), 0) or _steps(record.config) or units or 1
    return Work(units, items * _drawn_for_one(record))


def _drawn_for_one(record: StageRecord) -> int:
    """How many hypotheses were drawn for a label: one, or those among which a scorer chose."""
    among = record.config.get("among")
    return int(among["hypotheses"]) if isinstance(among, Mapping) else 1


def _steps(config: Mapping[str, Any]) -> int:
    train = config.get("train")
    return int(train["optimiser"]["steps"]) if isinstance(train, Mapping) else 0


def _sharded(units: int, each: int, shard_size: int) -> Work:
    return Work(units, units * each, max(1, math.ceil(units / shard_size)))
