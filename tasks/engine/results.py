"""What shards and stages come to: a shard's rows and accounts, and how a stage ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from infra.shards import Shard
from infra.stages import Failure, StageRecord
from schemas.ids import StageKey


@dataclass(frozen=True)
class ShardOutput:
    """What a worker made of a shard: rows per table (no row needed, `stage_key` may be left out), the units that did
    not make it, and how many did."""

    tables: Mapping[str, pa.Table]
    failures: Sequence[Failure] = ()
    ok: int = 0


class ShardWorker(Protocol):
    """Turns a shard into rows. The result may depend on the shard's ids and on nothing that happened before."""

    def __call__(self, shard: Shard) -> ShardOutput: ...


@dataclass(frozen=True)
class StageResult:
    """How a stage ended. `shards_found` were done by an earlier run, `shards_done` by this one."""

    record: StageRecord
    reused: bool
    shards_found: int = 0
    shards_done: int = 0

    @property
    def key(self) -> StageKey:
        return self.record.stage_key
