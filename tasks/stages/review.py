"""Review: from pairs and what people said of them to the pairs that are trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.digests import digest
from schemas.ids import StageKey
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker
from tasks.engine.stage import ShardedStage
from tasks.review.verdicts import Said, Unjudged
from tasks.rows.mix import Mix

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ApplyReviews(ShardedStage):
    """Leaves rejected pairs out and swaps swapped ones -> table `pairs`, under this stage's key; the rows that it reads
    stay as they are.

    `unjudged` says what becomes of pairs without a verdict. With `people` the pairs are those of an earlier round: the
    judged ones alone are looked at, and of them only such of these people are taken. Pairs that are left out end in
    `failures`, filtered, with the reason and what each reviewer said.
    """

    pairs: StageKey
    said: Said
    unjudged: Unjudged
    people: Mix | None = None

    name = "review"
    writes = ("pairs",)
    on_ray = False  # as for pairing
    unit = "pairs"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        people = {} if self.people is None else {"people": self.people.key()}
        size = context.config.score.shard_size
        return {"reviews": digest(self.said), "unjudged": self.unjudged, "shard_size": size, **people}

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (self.pairs, *(self.people.ingests if self.people else ()))

    def ids(self, context: Context) -> "Sequence[str] | pa.StringArray":
        from tasks.review.work import units_of

        return sorted(self.said) if self.people else units_of(context.store, self.pairs)

    def shard_size(self, context: Context) -> int:
        return context.config.score.shard_size

    def worker(self, context: Context) -> ShardWorker:
        from tasks.review.work import ReviewWorker

        return ReviewWorker(self, context)
