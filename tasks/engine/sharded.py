"""Run a stage shard by shard: find what is done, do the rest with Ray Data, count, commit.

What flows through Ray is descriptions of shards, not rows: a process builds its worker once, turns a shard into rows,
writes the shard's files itself and hands back counts. `in_process=True` does the same work here, without Ray.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from infra import faults
from infra.begun import note_begin, note_end
from infra.data_files import DataFile
from infra.repair import find_or_mend
from infra.shards import Receipt, Shards, Tally, cut, forget, receipts
from infra.shared_store import session_for
from infra.stages import StageRecord, StageSpec, commit, files_by_table, find, now
from infra.store import Store
from infra.table_rows import read_files
from schemas import errors
from schemas.config.engine import RayConfig
from schemas.errors import EngineError, GateError, StoreError, VanishedError
from schemas.ids import StageKey
from schemas.progress import SILENT, Progress
from schemas.tables import contract
from tasks.engine.results import ShardWorker, StageResult
from tasks.engine.shard_work import ShardWork
from tasks.engine.spread import on_ray

_TIMES = 3
"""Times that shards are made again whose files something removes before the commit."""

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
    crops_of: Sequence[StageKey] = (),
) -> StageResult:
    """Do the stage for `ids`, or find it done. Each actor builds `worker()` once.

    `settings` say how many actors work at a time and what each asks of Ray: of a GPU only where `device`, on which the
    workers compute, isn't "cpu". Ray is started, as they want it, if it doesn't run and there is work.
    `crops_of` are the ingests whose crops the workers read: a shard goes to a machine that keeps them, if one is free.
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
    done_before = sum(receipt.tally.total for receipt in earlier.values())
    if earlier:
        progress.advance(spec.name, done_before, f"{len(earlier)} shards were done before")
    faults.reach(f"begin:{spec.name}")
    work = ShardWork(store, spec, worker, tuple(tables))
    _do(work, shards, todo, progress, settings, device, in_process, crops_of)
    faults.reach(f"shards:{spec.name}")
    for left in reversed(range(_TIMES)):
        finished = receipts(store, spec.key, shards, say=say)
        lost = [index for index in range(len(shards)) if index not in finished]
        if lost:
            say(f"{len(lost)} of {len(shards)} shards that were done are gone or damaged; they are made again")
            _do(work, shards, lost, SILENT, settings, device, in_process, crops_of)
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
                store,
                spec,
                files,
                units,
                tally,
                started_at=started_at,
                device=device,
                other_code=other_code,
                done_share=1 - done_before / units if units else 1.0,
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
    work: "ShardWork",
    shards: Shards,
    todo: Sequence[int],
    progress: Progress,
    settings: RayConfig,
    device: str,
    in_process: bool,
    crops_of: Sequence[StageKey],
) -> None:
    """Do those of the shards that are `todo`, on Ray or in this process."""
    if in_process:
        _follow((work.do(shards[index]) for index in todo), work.spec, progress)
    elif todo:
        with session_for(work.store, settings, settings.threads_per_actor):
            gpus = 0.0 if device == "cpu" else settings.gpus_per_actor
            answers = on_ray(work, shards, todo, settings, gpus, progress.say, crops_of)
            _follow(answers, work.spec, progress)


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
