"""Shards on Ray Data: descriptions of them go through it, and counts come back.

On the CPU they are done in processes that Ray keeps from stage to stage, because starting one costs seconds; where they
hold a GPU those are actors, gone with the stage.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import ray

from infra.ray_session import check_resources, lacking, no_room, room_for
from infra.shards import Shard, Shards
from schemas.config.engine import RayConfig
from schemas.errors import EngineError
from schemas.ids import StageKey
from tasks.engine.shard_work import ShardWork
from tasks.engine.turns import Desk

_SHARD_RETRIES: Final = 2
"""Times that a shard is tried again after its process died. What the shard's code raises is no such death."""

_WAVE, _WAVE_OF_ACTOR = 1000, 50
"""Shards that Ray is given at a time, in all and for each actor, whichever are more: what it keeps of each would else
grow with the stage, and each task cost the more the more there are. An actor waits once in a wave, for the last one."""

_ACTOR_BYTES: Final = 1024**3
"""What an actor on the CPU is taken to need, where their number is left open: libraries, a small model, a shard."""


def on_ray(
    work: ShardWork,
    shards: Shards,
    todo: Sequence[int],
    settings: RayConfig,
    gpus: float,
    say: Callable[[str], None],
    crops_of: Sequence[StageKey] = (),
) -> Iterator[dict[str, Any]]:
    """Do those of the shards that are `todo`, and answer as they are done. On several machines each goes where its
    crops, of the ingests `crops_of`, are kept, as far as somebody is free there."""
    cpus, actors = settings.cpus_per_actor, settings.actors
    each = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    count = max(1, min(_as_many_as_fit(each, settings.threads_per_actor) if actors is None else actors, len(todo)))
    check_resources(each, count)
    if held := lacking(each):
        say(f"{work.spec.name}, waiting for Ray: {held} ...")
    # Ray Data's own tasks need some CPU beside the actors, or all wait for ever
    share = min(cpus, 0.9 * ray.cluster_resources().get("CPU", 1.0) / count)
    try:
        work.desk = desk = Desk.of(work.store, crops_of, settings)
        at_once = max(_WAVE, count * _WAVE_OF_ACTOR)
        for first in range(0, len(todo), at_once):
            chosen = [shards[index] for index in todo[first : first + at_once]]
            wave = [_describe(shard) for shard in chosen]
            if desk:
                desk.offer(wave, [shard.ids for shard in chosen])
            yield from _answers(ray.data.from_items(wave, override_num_blocks=len(wave)), work, count, share, gpus)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        raise EngineError(
            f"Stage {work.spec.name}: a worker process died, likely for want of memory, or its node "
            f"({type(error).__name__}). {no_room()} Run again to go on from the finished shards; if it dies again, "
            "lower actors or the microbatch."
        ) from error
    finally:
        if work.desk:
            work.desk.close()


def _describe(shard: Shard) -> dict[str, Any]:
    return {"index": shard.index, "ids": json.dumps(shard.ids)}


def _as_many_as_fit(each: Mapping[str, float], threads: int) -> int:
    """Actors that keep Ray's nodes busy without being in each other's way."""
    return room_for(each if "GPU" in each else {"CPU": max(each["CPU"], threads), "memory": _ACTOR_BYTES})


def _answers(
    described: ray.data.Dataset, work: ShardWork, count: int, cpus: float, gpus: float
) -> Iterator[dict[str, Any]]:
    with warnings.catch_warnings():
        # Ray 2.60 calls this way of setting retries and restarts deprecated but has no other one yet
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
        answers = _in_actors(described, work, count, cpus, gpus) if gpus else _in_tasks(described, work, count, cpus)
    return iter(answers.iter_rows())


def _in_tasks(described: ray.data.Dataset, work: ShardWork, count: int, cpus: float) -> ray.data.Dataset:
    """`count` shards at a time, in processes that Ray keeps: the next stage finds its libraries loaded."""
    return described.map(
        partial(_in_kept_process, work=work),
        compute=ray.data.TaskPoolStrategy(size=count),
        num_cpus=cpus,
        max_retries=_SHARD_RETRIES,  # Ray's own default is without end
    )


def _in_actors(described: ray.data.Dataset, work: ShardWork, count: int, cpus: float, gpus: float) -> ray.data.Dataset:
    """`count` actors that give their share of the GPU's memory back when the stage ends."""
    return described.map(
        cast(Callable[[dict[str, Any]], dict[str, Any]], ShardWork),  # Ray builds it in each actor
        fn_constructor_args=(work.store, work.spec, work.worker, work.tables, work.desk),
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=cpus,
        num_gpus=gpus,
        max_restarts=_SHARD_RETRIES,  # of each actor; Ray's own default is without end
        max_task_retries=_SHARD_RETRIES,
    )


_kept: list[ShardWork] = []
"""In a process of Ray: what did its last shard, with the worker that it built; at most one."""


def _in_kept_process(row: dict[str, Any], work: ShardWork) -> dict[str, Any]:
    """Do a shard with the worker that this process built for an earlier shard of the same call, if there is one."""
    if not _kept or _kept[0].of_call != work.of_call:
        _kept[:] = [work]
    return _kept[0].do(work.turn(row))  # its own desk may be that of an earlier attempt
