"""Pair: from scored hypotheses to winners and losers (ADHMR, section 3.3), with all that training needs in the row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from infra.tables import read_ids
from schemas.config.stages import PairConfig
from schemas.errors import ConfigError
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker, StageResult
from tasks.engine.stage import ShardedStage
from tasks.pair import PairWorker
from tasks.pairing.strategies import strategy_named


@dataclass(frozen=True)
class Pair(ShardedStage):
    """Chooses pairs among the hypotheses of a generation by their scores -> table `pairs`.

    `ingests` hold the labels, needed where `config.labels_win` is above 0 (else ConfigError). Instances without a pair
    end in `failures`, filtered, with the reason.
    """

    generation: StageKey
    scores: StageKey
    config: PairConfig
    ingests: tuple[StageKey, ...] = ()

    name = "pair"
    writes = ("pairs",)
    on_ray = False  # sorting a few numbers takes less time than starting a process

    def __post_init__(self) -> None:
        strategy_named(self.config.strategy)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"pair": self.config, "shard_size": context.config.score.shard_size}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (self.generation, self.scores, *self.labels)

    @property
    def labels(self) -> tuple[StageKey, ...]:
        """The ingests whose labels win against hypotheses."""
        return self.ingests if self.config.labels_win else ()

    def ids(self, context: Context) -> pa.StringArray:
        return read_ids(context.store, "scores", stage_keys=[self.scores])

    def shard_size(self, context: Context) -> int:
        return context.config.score.shard_size

    def worker(self, context: Context) -> ShardWorker:
        return PairWorker(self, context)

    def run(self, context: Context) -> StageResult:
        if self.config.labels_win and not self.ingests:
            raise ConfigError(
                "Labels are to win (pair.label_wins_share, or pair.strategy=label_wins), but the stage was given no "
                "ingest to take labels from."
            )
        return super().run(context)


def control_of(config: PairConfig) -> PairConfig:
    """Pairs of the same hypotheses at random: what a round trains its control on."""
    return config.model_copy(
        update={"strategy": "random", "least_margin": 0.0, "label_wins_share": 0.0, "other_share": 0.0}
    )
