"""Run a stage shard by shard: find what is done, do the rest with Ray Data, count, commit.

What flows through Ray is descriptions of shards, not rows: a process builds its worker once, turns a shard into rows,
writes the shard's files itself and hands back counts. On the CPU Ray keeps those processes from stage to stage, because
starting one costs seconds; where they hold a GPU they are actors, gone with the stage. `in_process=True` does the same
work here, without Ray.
"""

import json
import math
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import pyarrow as pa
import ray

from infra import faults
from infra.begun import note_begin, note_end
from infra.data_files import DataFile
from infra.ray_session import check_resources, lacking, no_room, room_for
from infra.repair import find_or_mend
from infra.shards import Receipt, Shard, Shards, Tally, cut, forget, receipts, stamped, write_shard
from infra.shared_store import session_for
from infra.stages import (
    Failure,
    StageRecord,
    StageSpec,
    commit,
    count_failures,
    failures_table,
    files_by_table,
    find,
    now,
)
from infra.store import Store
from infra.table_rows import read_files
from schemas import errors
from schemas.config.engine import RayConfig
from schemas.errors import DataError, EngineError, GateError, StoreError, VanishedError
from schemas.progress import SILENT, Progress
from schemas.tables import contract
from tasks.engine.results import ShardOutput, ShardWorker, StageResult

_SHARD_RETRIES = 2
"""Times that a shard is tried again after its process died. What the shard's code raises is no such death."""

_WAVE, _WAVE_OF_ACTOR = 1000, 50
"""Shards that Ray is given at a time, in all and for each actor, whichever are more: what it keeps of each would else
grow with the stage, and each task cost the more the more there are. An actor waits once in a wave, for the last one."""

_TIMES = 3
"""Times that shards are made again whose files something removes before the commit."""

_ACTOR_BYTES = 1024**3
"""What an actor on the CPU is taken to need, where their number is left open: libraries, a small model, a shard."""

_DEFAULTS = RayConfig()


def run_sharded(
    store: Store,
    spec: StageSpec,
    ids: Iterable[str] | pa.StringArray,
    shard_size: int,
    worker: Callable[[], ShardWorker],
    *,
    tables: Sequence[str],
    progress: Progress = SILENT,
    unit: str = "instances",
    settings: RayConfig = _DEFAULTS,
    max_failed_share: float = 1.0,
    device: str = "cpu",
    in_process: bool = False,
) -> StageResult:
    """Do the stage for `ids`, or find it done. Each actor builds `worker()` once.

    `settings` say how many actors work at a time and what each asks of Ray: of a GPU only where `device`, on which the
    workers compute, isn't "cpu". Ray is started, as they want it, if it doesn't run and there is work.
    `tables` names every table that the workers write (`failures` needs no mention). An exception that a unit raises in
    the worker makes the unit a row of `failures`; an EngineError other than that stops the stage.

    Raises GateError if more than `max_failed_share` of the units failed: they are committed first, so that they can be
    looked at, and the verdict holds until the configuration or the input changes. Where exceptions had a part in it,
    it is an EngineError: nothing is committed, and those shards are tried anew by the next run.
    """
    record = find_or_mend(store, spec, progress.say)
    if record is not None:
        progress.say(f"{spec.name}: reused, {record.tally.ok} {unit} ({spec.key[:12]})")
        _gate(store, spec, record.tally, record.units_in, max_failed_share, ())
        return StageResult(record, reused=True)
    started_at = now()

    def say(text: str) -> None:
        progress.say(f"{spec.name}: {text}")

    _say_of_other_versions(store, spec, say)
    shards = cut(ids, shard_size)
    units = len(shards.ids)
    note_begin(store, spec, len(shards), "shards")  # first: from now on no vacuum takes what there is of the stage
    earlier = receipts(store, spec.key, shards, say=say)
    todo = [index for index in range(len(shards)) if index not in earlier]
    progress.begin(spec.name, units, unit)
    if earlier:
        done_before = sum(receipt.tally.total for receipt in earlier.values())
        progress.advance(spec.name, done_before, f"{len(earlier)} shards were done before")
    faults.reach(f"begin:{spec.name}")
    work = _ShardWork(store, spec, worker, tuple(tables))
    _do(work, shards, todo, progress, settings, device, in_process)
    faults.reach(f"shards:{spec.name}")
    for left in reversed(range(_TIMES)):
        finished = receipts(store, spec.key, shards, say=say)
        lost = [index for index in range(len(shards)) if index not in finished]
        if lost:
            say(f"{len(lost)} of {len(shards)} shards that were done are gone or damaged; they are made again")
            _do(work, shards, lost, SILENT, settings, device, in_process)
            continue
        other_code = _say_of_other_code(finished.values(), spec, progress)
        tally = sum((receipt.tally for receipt in finished.values()), Tally())
        files = files_by_table(finished.values(), (*tables, "failures"))
        if tally.crashed and units and tally.failed / units > max_failed_share:
            reasons = _reasons(store, files["failures"])
            for receipt in finished.values():
                if receipt.tally.crashed:
                    forget(store, spec.key, receipt.index)
            # no verdict on the data, which would end a round: an exception is a defect, or passes
            raise EngineError(
                f"{_over_limit(spec, tally, units, max_failed_share)} {reasons} "
                "Nothing was committed; the next run tries these shards again."
            )
        try:
            record = commit(
                store, spec, files, units, tally, started_at=started_at, device=device, other_code=other_code
            )
            break
        except VanishedError:  # a file went after its receipt was read: once more
            if not left:
                raise
    else:
        raise StoreError(
            f"Stage {spec.name}: something keeps removing finished shards from {store.url}. Find out what (a job that "
            "clears old files?) and end it, then run again."
        )
    note_end(store, spec)
    progress.end(spec.name, _summary(record, unit))
    _gate(store, spec, tally, units, max_failed_share, files["failures"])
    return StageResult(record, reused=False, shards_found=len(earlier), shards_done=len(todo))


def _do(
    work: "_ShardWork",
    shards: Shards,
    todo: Sequence[int],
    progress: Progress,
    settings: RayConfig,
    device: str,
    in_process: bool,
) -> None:
    """Do those of the shards that are `todo`, on Ray or in this process."""
    if in_process:
        _follow((work.do(shards[index]) for index in todo), work.spec, progress)
    elif todo:
        with session_for(work.store, settings, settings.threads_per_actor):
            gpus = 0.0 if device == "cpu" else settings.gpus_per_actor
            answers = _on_ray(work, shards, todo, settings, gpus, progress.say)
            _follow(answers, work.spec, progress)


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
            outputs.append(worker(Shard(shard.index, (name,))))
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            crashed.append(_crash(name, error, attempts=2))
    return outputs, crashed


def _crash(name: str, error: Exception, attempts: int) -> Failure:
    return Failure(name, f"exception {type(error).__name__}", str(error), attempts=attempts)


@dataclass(eq=False)
class _ShardWork:
    """Builds the worker at the first shard and does shards; one lives in each process. Answers with plain values."""

    store: Store
    spec: StageSpec
    worker: Callable[[], ShardWorker]
    tables: tuple[str, ...]
    built: ShardWorker | None = None
    of_call: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.do(Shard(int(row["index"]), tuple(json.loads(row["ids"]))))

    def do(self, shard: Shard) -> dict[str, Any]:
        try:
            if self.built is None:
                self.built = self.worker()
            tally = do_shard(self.store, self.spec, self.built, shard, self.tables).tally
        except EngineError as error:
            # as a value: raised through Ray, the message would drown in tracebacks
            return {"index": shard.index, "units": 0, "failed": 0, "error": type(error).__name__, "text": str(error)}
        return {"index": shard.index, "units": tally.total, "failed": tally.failed, "error": "", "text": ""}


def _describe(shard: Shard) -> dict[str, Any]:
    return {"index": shard.index, "ids": json.dumps(shard.ids)}


def _on_ray(
    work: _ShardWork,
    shards: Shards,
    todo: Sequence[int],
    settings: RayConfig,
    gpus: float,
    say: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    cpus, actors = settings.cpus_per_actor, settings.actors
    each = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    count = max(1, min(_as_many_as_fit(each, settings.threads_per_actor) if actors is None else actors, len(todo)))
    check_resources(each, count)
    if held := lacking(each):
        say(f"{work.spec.name}, waiting for Ray: {held} ...")
    # Ray Data's own tasks need some CPU beside the actors, or all wait for ever
    share = min(cpus, 0.9 * ray.cluster_resources().get("CPU", 1.0) / count)
    try:
        at_once = max(_WAVE, count * _WAVE_OF_ACTOR)
        for first in range(0, len(todo), at_once):
            wave = [_describe(shards[index]) for index in todo[first : first + at_once]]
            yield from _answers(ray.data.from_items(wave, override_num_blocks=len(wave)), work, count, share, gpus)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        raise EngineError(
            f"Stage {work.spec.name}: a worker process died, likely for want of memory, or its node "
            f"({type(error).__name__}). {no_room()} Run again to go on from the finished shards; if it dies again, "
            "lower actors or the microbatch."
        ) from error


def _as_many_as_fit(each: Mapping[str, float], threads: int) -> int:
    """Actors that keep Ray's nodes busy without being in each other's way."""
    return room_for(each if "GPU" in each else {"CPU": max(each["CPU"], threads), "memory": _ACTOR_BYTES})


def _answers(
    described: ray.data.Dataset, work: _ShardWork, count: int, cpus: float, gpus: float
) -> Iterator[dict[str, Any]]:
    with warnings.catch_warnings():
        # Ray 2.60 calls this way of setting retries and restarts deprecated but has no other one yet
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
        answers = _in_actors(described, work, count, cpus, gpus) if gpus else _in_tasks(described, work, count, cpus)
    return iter(answers.iter_rows())


def _in_tasks(described: ray.data.Dataset, work: _ShardWork, count: int, cpus: float) -> ray.data.Dataset:
    """`count` shards at a time, in processes that Ray keeps: the next stage finds its libraries loaded."""
    return described.map(
        partial(_in_kept_process, work=work),
        compute=ray.data.TaskPoolStrategy(size=count),
        num_cpus=cpus,
        max_retries=_SHARD_RETRIES,  # Ray's own default is without end
    )


def _in_actors(described: ray.data.Dataset, work: _ShardWork, count: int, cpus: float, gpus: float) -> ray.data.Dataset:
    """`count` actors that give their share of the GPU's memory back when the stage ends."""
    return described.map(
        cast(Callable[[dict[str, Any]], dict[str, Any]], _ShardWork),  # Ray builds it in each actor
        fn_constructor_args=(work.store, work.spec, work.worker, work.tables),
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=cpus,
        num_gpus=gpus,
        max_restarts=_SHARD_RETRIES,  # of each actor; Ray's own default is without end
        max_task_retries=_SHARD_RETRIES,
    )


_kept: list[_ShardWork] = []
"""In a process of Ray: what did its last shard, with the worker that it built; at most one."""


def _in_kept_process(row: dict[str, Any], work: _ShardWork) -> dict[str, Any]:
    """Do a shard with the worker that this process built for an earlier shard of the same call, if there is one."""
    if not _kept or _kept[0].of_call != work.of_call:
        _kept[:] = [work]
    return _kept[0](row)


def _follow(answers: Iterator[dict[str, Any]], spec: StageSpec, progress: Progress) -> None:
    failed = 0
    for answer in answers:
        if answer["error"]:
            raise getattr(errors, answer["error"], EngineError)(answer["text"])
        failed += int(answer["failed"])
        progress.advance(spec.name, int(answer["units"]), f"{failed} failed" if failed else "")
        faults.reach(f"shard:{spec.name}")


def _say_of_other_versions(store: Store, spec: StageSpec, say: Callable[[str], None]) -> None:
    """Say that an unfinished attempt of other code can't be gone on with: another version has another key."""
    for version in (*range(1, spec.version), spec.version + 1):
        other = replace(spec, version=version)
        left = len(store.whole_files(f"shards/{other.key}"))
        if left and find(store, other.key) is None:
            say(
                f"an unfinished run left {left} shards of version {version} of this stage; they are not used, version "
                f"{spec.version} makes its own"
            )


def _say_of_other_code(finished: Iterable[Receipt], spec: StageSpec, progress: Progress) -> set[str]:
    """Digests of code other than this that made shards of the stage; said aloud if there are any."""
    every = list(finished)
    others = [receipt.code for receipt in every if receipt.is_of_other_code]
    if others:
        progress.say(
            f"WARNING: {spec.name}: {len(others)} of {len(every)} shards were made by other code than this "
            f"({', '.join(sorted({code[:12] for code in others}))}): by a run before the code was changed, or by "
            "workers that have another state of it. They count, as the stage's version is the same; stages records it"
        )
    return set(others)


def _gate(store: Store, spec: StageSpec, tally: Tally, units: int, limit: float, failures: Sequence[DataFile]) -> None:
    if units and tally.failed / units > limit:
        reasons = _reasons(store, failures)
        raise GateError(
            f"{_over_limit(spec, tally, units, limit)} {reasons} "
            f"The table failures names each (stage_key = '{spec.key}'). If that many are right, "
            f"--set gates.max_failed_share={math.ceil(100 * tally.failed / units) / 100:g} lets them pass.",
            spec.key,
        )


def _over_limit(spec: StageSpec, tally: Tally, units: int, limit: float) -> str:
    return f"Stage {spec.name}: {tally.failed} of {units} units failed, more than the allowed {limit:.1%}."


def _reasons(store: Store, failures: Sequence[DataFile]) -> str:
    if not failures:
        return ""
    rows = read_files(store, contract("failures"), failures).to_pylist()
    counted = Counter(row["reason"] for row in rows if row["outcome"] == "failed").most_common(3)
    first = {row["reason"]: row for row in reversed(rows)}
    listed = "; ".join(
        f"{count} x {why} (such as {first[why]['id']}: {first[why]['detail']})" for why, count in counted
    )
    return f"Reasons: {listed}."


def _summary(record: StageRecord, unit: str) -> str:
    tally = record.tally
    extra = [f"{number} {word}" for number, word in ((tally.filtered, "filtered"), (tally.failed, "failed")) if number]
    return f"{tally.ok} {unit}" + (f", {', '.join(extra)}" if extra else "")
