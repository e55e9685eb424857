"""What the stages that put crops through a model have in common: threads, device, microbatches of one size."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from infra.node_cache import NodeCache
from infra.node_copies import with_copies
from infra.shards import Shard
from tasks.engine.context import Context
from tasks.engine.numerics import fixed_numerics
from tasks.engine.results import ShardOutput


class ModelWorker(ABC):
    """A `ShardWorker` that runs models: `work` with what the last bits of a result depend on held fixed."""

    def __init__(self, context: Context) -> None:
        ray, self.partition = context.config.ray, context.partition
        self.store = with_copies(context.store, NodeCache.of(ray.cache_folder, ray.cache_gib))
        self.threads, self.device = ray.threads_per_actor, ray.actor_device

    def __call__(self, shard: Shard) -> ShardOutput:
        """Rows of a shard."""
        with fixed_numerics(self.threads):
            return self.work(shard)

    @abstractmethod
    def work(self, shard: Shard) -> ShardOutput:
        """Rows of a shard; the result may depend on its ids and on nothing that happened before."""


def microbatches(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows 0 to `count` - 1 in groups of exactly `size`, each with how many of its rows count.

    The last group is filled up with its last row: kernels may round differently for another batch size.
    """
    for start in range(0, count, size):
        used = min(size, count - start)
        yield np.minimum(np.arange(start, start + size), start + used - 1), used
