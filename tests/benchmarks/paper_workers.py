"""What a second training worker is worth: steps of DPO at the published sizes by two workers of a thread, and by one.

The workers are processes of a group as Ray Train makes one, with the same batch of the profile `paper`; its encoder is
frozen, and its features are kept. Seconds are those of the clock, so both cores have to be free.
"""

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Final

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from schemas.config.engine import EngineConfig
from tasks.engine.loop import Training
from tests.benchmarks.figures import Goal, Measured, Way, measure, wall_seconds
from tests.benchmarks.paper_networks import Networks, frozen_step, step

_GOAL: Final = 1.8
_CROPS: Final = 40
"""Of one published worker."""
_DONE: Final = "done"


def worker_figures(config: EngineConfig, repeats: int) -> Iterator[Measured]:
    """A step by one worker, and by two."""
    with _Group(config, 1) as one, _Group(config, 2) as two:
        ways = {"one worker": Way(one.step), "two workers": Way(two.step, goals=(Goal("faster", _GOAL),))}
        title = f"a step of DPO on {_CROPS} crops, encoder frozen, a thread each"
        yield measure(title, "step", ways, repeats=repeats, clock=wall_seconds)


class _Group:
    """Processes that do steps when they are told to."""

    def __init__(self, config: EngineConfig, size: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        context = mp.get_context("spawn")
        self._members = []
        for rank in range(size):
            ours, theirs = context.Pipe()
            given = rank, size, self._folder.name, config, theirs
            process = context.Process(target=_member, args=given, daemon=True)
            process.start()
            theirs.close()
            self._members.append((process, ours))
        self._hear()

    def __enter__(self) -> "_Group":
        return self

    def __exit__(self, *error: object) -> None:
        for _, pipe in self._members:
            pipe.close()
        for process, _ in self._members:  # which wait for each other
            process.join()
        self._folder.cleanup()

    def step(self) -> None:
        """One step of all of them."""
        for _, pipe in self._members:
            pipe.send(None)
        self._hear()

    def _hear(self) -> None:
        for _, pipe in self._members:
            pipe.recv()


def _member(rank: int, size: int, folder: str, config: EngineConfig, pipe: Connection) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with _meeting(rank, size, folder):
        training = frozen_step(Networks(config, 0, 0, _CROPS), "float32")
        pipe.send(_DONE)
        _serve(training, pipe)
        del training
        gc.collect()  # what shares gradients goes before the group that it shares them with


def _serve(training: Training, pipe: Connection) -> None:
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        step(training)
        pipe.send(_DONE)


@contextmanager
def _meeting(rank: int, size: int, folder: str) -> Iterator[None]:
    if size == 1:
        yield
        return
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    yield
    dist.barrier()
    dist.destroy_process_group()
