"""A shard's work, in the process that does it: the worker makes rows, they are written as the shard's files, and what
raises costs its unit alone.
"""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from infra.shards import Receipt, Shard, Tally, stamped, write_shard
from infra.stages import Failure, StageSpec, count_failures, failures_table
from infra.store import Store
from schemas.errors import DataError, EngineError
from schemas.tables import contract
from tasks.engine.results import ShardOutput, ShardWorker
from tasks.engine.turns import Desk


def do_shard(store: Store, spec: StageSpec, worker: ShardWorker, shard: Shard, tables: Sequence[str]) -> Receipt:
    """Make one shard and write it. If the worker raises, its units are tried one by one, and those that raise fail."""
    try:
        outputs = [worker(shard)]
        crashed: list[Failure] = []
    except EngineError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a unit raises must cost that unit alone, not the stage
        outputs, crashed = _one_by_one(worker, shard, error)
    rows = {name: [contract(name).schema.empty_table()] for name in (*tables, "failures")}
    failures = [failure for output in outputs for failure in output.failures] + crashed
    for output in outputs:
        for name, table in output.tables.items():
            if name not in rows:
                raise DataError(f"Stage {spec.name} wrote to table {name}, but names only {', '.join(tables)}.")
            rows[name].append(stamped(name, table, spec.key))
    if failures:
        rows["failures"].append(failures_table(spec, sorted(failures, key=lambda failure: failure.id)))
    lost = count_failures(failures)
    tally = Tally(ok=sum(output.ok for output in outputs), crashed=len(crashed)) + lost
    if tally.total != len(shard.ids):
        raise DataError(
            f"Stage {spec.name}, shard {shard.index}: {len(shard.ids)} units went in, but {tally.ok} ok, "
            f"{tally.filtered} filtered and {tally.failed} failed came out."
        )
    whole = {name: pa.concat_tables(parts).combine_chunks() for name, parts in rows.items()}
    return write_shard(store, spec.key, shard, whole, tally, stage=spec.name)


def _one_by_one(worker: ShardWorker, shard: Shard, first: Exception) -> tuple[list[ShardOutput], list[Failure]]:
    if len(shard.ids) == 1:
        return [], [_crash(shard.ids[0], first, attempts=1)]
    outputs: list[ShardOutput] = []
    crashed: list[Failure] = []
    for name in shard.ids:
        try:
            outputs.append(worker(Shard(shard.index, (name,), is_part=True)))
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            crashed.append(_crash(name, error, attempts=2))
    return outputs, crashed


def _crash(name: str, error: Exception, attempts: int) -> Failure:
    return Failure(name, f"exception {type(error).__name__}", str(error), attempts=attempts)


@dataclass(eq=False)
class ShardWork:
    """Builds the worker at the first shard and does shards; one lives in each process. Answers with plain values."""

    store: Store
    spec: StageSpec
    worker: Callable[[], ShardWorker]
    tables: tuple[str, ...]
    desk: Desk | None = None
    built: ShardWorker | None = None
    of_call: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.do(self.turn(row))

    def turn(self, row: dict[str, Any]) -> Shard:
        """The shard that a process does which was given `row`."""
        row = self.desk.turn(row) if self.desk else row
        return Shard(int(row["index"]), tuple(json.loads(row["ids"])))

    def do(self, shard: Shard) -> dict[str, Any]:
        try:
            if self.built is None:
                self.built = self.worker()
            tally = do_shard(self.store, self.spec, self.built, shard, self.tables).tally
        except EngineError as error:
            # as a value: raised through Ray, the message would drown in tracebacks
            return {"index": shard.index, "units": 0, "failed": 0, "error": type(error).__name__, "text": str(error)}
        return {"index": shard.index, "units": tally.total, "failed": tally.failed, "error": "", "text": ""}
