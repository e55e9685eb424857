"""Plans of ingests as files of the store: `ingests/<stage key>/`, shared by all runs of a stage until one is done.

Two runs of one stage make the same plan, and the first to finish removes it. A run that still works from it meets a
VanishedError, looks again (`shares_plan`), and finds the stage done. Of a plan that is damaged nothing is used: it is
made again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Final, TypeVar

import pyarrow as pa

from infra.sealed import read_bytes, sealed_bytes
from infra.stages import StageSpec
from infra.store import Store
from schemas.errors import DamagedError, SpoiledError, StoreError, VanishedError
from schemas.progress import SILENT
from tasks.engine.context import Context
from tasks.engine.results import ShardWorker, StageResult
from tasks.engine.stage import Stage

_TIMES: Final = 3
"""A plan may vanish of an unfinished stage too, where a run of it was refused; hardly more than once."""
_Stage = TypeVar("_Stage")
_Result = TypeVar("_Result")


def plan_folder(stage_key: str) -> str:
    """Where in the store a stage's plan lies while the stage is done."""
    return f"ingests/{stage_key[:16]}"


def summary_file(folder: str) -> str:
    """The file of a plan that is written last and removed first: where it is, the others are."""
    return f"{folder}/plan.json"


def write_planned(store: Store, name: str, data: bytes) -> None:
    """Write a file of a plan. VanishedError where its folder is being removed."""
    try:
        store.atomic_write(name, sealed_bytes(data))
    except FileNotFoundError as error:
        raise VanishedError(f"{store.uri(name)} can't be written: its folder is gone.") from error


def read_planned(store: Store, name: str) -> bytes:
    """A plan's file. VanishedError where it isn't there; SpoiledError, and no plan, if it is damaged."""
    try:
        return read_bytes(store.read_bytes(name), store.uri(name))
    except DamagedError as error:
        store.remove(summary_file(name.rpartition("/")[0]))
        raise SpoiledError(str(error)) from error
    except StoreError as error:
        raise VanishedError(str(error)) from error


def forget_plan(store: Store, folder: str) -> None:
    """Remove the plan of a stage that is committed, or was refused, if it is there."""
    store.remove(summary_file(folder))
    store.remove_folder(folder)


def run_planned(
    stage: Stage,
    context: Context,
    spec: StageSpec,
    ids: Sequence[str],
    worker: Callable[[Context], ShardWorker],
    *,
    unit: str = "people",
    max_failed_share: float | None = None,
    in_process: bool = False,
) -> StageResult:
    """Do the units `ids` of a stage as `run_sharded` does, and forget their plan. `worker` gets a quiet context.

    The gates of the configuration say how many may fail, unless `max_failed_share` does.
    """
    from tasks.engine.sharded import run_sharded

    config = context.config
    result = run_sharded(
        context.store,
        spec,
        ids,
        config.ingest.shard_size,
        partial(worker, replace(context, progress=SILENT)),
        tables=stage.writes,
        progress=context.progress,
        unit=unit,
        settings=config.ray,
        max_failed_share=config.gates.max_failed_share if max_failed_share is None else max_failed_share,
        in_process=context.in_process or in_process,
    )
    forget_plan(context.store, plan_folder(spec.key))
    return result


def shares_plan(run: Callable[[_Stage, Context], _Result]) -> Callable[[_Stage, Context], _Result]:
    """A stage that starts over where its plan vanished: by then another run has most likely finished it."""

    @wraps(run)
    def again(stage: _Stage, context: Context) -> _Result:
        for _ in range(_TIMES - 1):
            try:
                return run(stage, context)
            except SpoiledError as error:
                context.progress.say(f"{error} So the source is read again.")
            except VanishedError:
                continue
        return run(stage, context)

    return again


def slices(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Tables of exactly `size` rows (the last may be smaller), however the rows come."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        while count >= size:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, size).combine_chunks()
            waiting, count = [whole.slice(size)], count - size
    if count:
        yield pa.concat_tables(waiting).combine_chunks()
