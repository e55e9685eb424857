"""Draw: hypotheses and their scores in one pass, of which all scores are kept and of the hypotheses what pairs take.

All that chooses pairs is at hand in that pass and never again, so it does the shards of pairing, too: `PairDrawn` finds
them done. What it does not find it draws once more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from infra.stages import find
from models.body_arrays import body_digest
from schemas.config.engine import EngineConfig
from schemas.config.stages import GenerateConfig, PairConfig
from schemas.ids import ModelDigest, StageKey, Target
from schemas.tables import OUTSIDE_ROUNDS
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker, StageResult
from tasks.engine.stage import ShardedStage
from tasks.rows.drawn import DRAW, draw_record, drawn_for, drawn_with
from tasks.rows.instances import sorted_ids
from tasks.rows.part import Part, counting
from tasks.stages.generate import by_casts
from tasks.stages.pair import Pair, control_of

Kept = Literal["extremes", "none"]
SAID: Final[Mapping[str, str]] = {"extremes": "winners and losers alone", "none": "no hypotheses"}
"""What there is of a draw's hypotheses in the table, in words."""


@dataclass(frozen=True)
class Draw(ShardedStage):
    """Draws `config.hypotheses` samples of the policy for every instance of `targets` and scores them -> tables
    `scores` and, with keep "extremes", `hypotheses`: those that are in the pairs of `pair`.

    Other fields as of `Generate`, which draws the same bits. An instance for which a model gives a number that is not
    finite ends in `failures`.
    """

    ingests: tuple[StageKey, ...]
    targets: tuple[Target, ...]
    policy: ModelDigest
    scorer: ModelDigest
    config: GenerateConfig
    pair: PairConfig
    keep: Kept
    round_seed: int | None = None
    part: Part | None = None

    name = DRAW
    writes = ("hypotheses", "scores")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {
            "generate": self.config,
            **by_casts(self.config),
            "score": context.config.score,
            "pair": self.pair,
            "keep": self.keep,
            "targets": [str(target) for target in self.targets],
            "round_seed": self.round_seed,
            "body": body_digest(context.config.body),
            "threads": context.config.ray.threads_per_actor,
            **counting(self.part),
        }

    def ids(self, context: Context) -> pa.StringArray:
        return sorted_ids(context.store, self.ingests, self.targets, self.part)

    def shard_size(self, context: Context) -> int:
        return self.config.shard_size

    def pairings(self, context: Context) -> tuple["PairDrawn", ...]:
        """The stages whose shards are done in the same pass: in a round, its control's among them."""
        key = self.key(context)
        wanted = [self.pair] if context.partition == OUTSIDE_ROUNDS else [self.pair, control_of(self.pair)]
        return tuple(PairDrawn(key, key, config, self.ingests) for config in dict.fromkeys(wanted))

    def worker(self, context: Context) -> ShardWorker:
        from tasks.draw import DrawWorker

        return DrawWorker(self, context)


@dataclass(frozen=True)
class PairDrawn(Pair):
    """Pairs among the hypotheses of a `Draw`, which are not in the table -> table `pairs`.

    Shards that the draw has done are found; of others the hypotheses are drawn once more, to the same bits on the same
    kind of machine. Its units are those of the draw: whoever failed there is filtered here.
    """

    on_ray = True
    done_ahead = True

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"pair": self.config}

    def ids(self, context: Context) -> pa.StringArray:
        return drawn_for(context.store, draw_record(context.store, self.generation))

    def shard_size(self, context: Context) -> int:
        """As the draw was cut; a plan asks for it before there is one."""
        record = find(context.store, self.generation)
        return (context.config.generate if record is None else drawn_with(record)).shard_size

    def run(self, context: Context) -> StageResult:
        key, record = self.key(context), find(context.store, self.generation)
        if record is not None and find(context.store, key) is None:
            every = math.ceil(record.units_in / self.shard_size(context))
            missing = every - len(context.store.whole_files(f"shards/{key}"))
            if missing > 0:
                context.progress.say(
                    f"{self.name}: of draw {self.generation[:12]} {SAID[record.config['keep']]} were kept, so the "
                    f"hypotheses of {missing} of {every} shards are drawn once more"
                )
        return super().run(context)

    def worker(self, context: Context) -> ShardWorker:
        from tasks.draw import PairDrawnWorker

        return PairDrawnWorker(self, context)


def kept_of_each(config: EngineConfig) -> int:
    """Rows of `hypotheses` that a round writes of each person, at most."""
    drawn = config.generate.hypotheses
    extremes = 2 * min(config.pair.pairs_per_instance, drawn // 2)
    return {"all": drawn, "extremes": extremes, "none": 0}[config.hypotheses.keep]
