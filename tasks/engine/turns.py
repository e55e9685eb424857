"""Who does which shard next, where machines keep copies of crops: the machine that has the shard's.

Whoever is free takes a shard, and only then it is decided which. So nobody waits for a slow machine, nor for the one
that has the crops: a machine that has none of what is left takes a shard whose crops nobody has, and in the end one of
the others'. A shard's rows depend on none of this.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infra.node_cache import NodeCache
from infra.node_copies import copied, copy_name
from infra.standing import chain
from infra.store import Store
from infra.tables import live_files, live_files_of_each
from schemas.config.engine import RayConfig
from schemas.ids import StageKey

Row = dict[str, Any]
"""A shard's description; "index" is its number."""
_SECONDS: Final = 30.0
"""That a machine has for saying what it keeps; one that takes longer is taken to keep nothing."""


class Turns:
    """Hands out the shards of a stage. `kept` are the names of the files that each machine has, by its id."""

    def __init__(self, kept: Mapping[str, Collection[str]]) -> None:
        self._kept = {node: set(names) for node, names in kept.items()}
        self._rows: dict[int, Row] = {}
        self._files: dict[int, frozenset[str]] = {}
        self._taken: dict[int, Row] = {}

    def offer(self, rows: Sequence[Row], files: Sequence[Collection[str]]) -> None:
        """Shards, in the order in which one machine would do them, each with the names of the files that it reads."""
        for row, names in zip(rows, files, strict=True):
            self._rows[row["index"]], self._files[row["index"]] = row, frozenset(names)

    def take(self, ticket: int, node: str) -> Row:
        """The shard for `node`. Tickets are the numbers of all shards; one that is shown again, because whoever had it
        has died, gets the same shard."""
        if ticket not in self._taken:
            index = self._choice(node)
            self._kept.setdefault(node, set()).update(self._files.pop(index))  # it is going to read them
            self._taken[ticket] = self._rows.pop(index)
        return self._taken[ticket]

    def _choice(self, node: str) -> int:
        mine, unclaimed = self._kept.get(node, set()), None
        for index, files in self._files.items():
            if not mine.isdisjoint(files):
                return index
            if unclaimed is None and all(kept.isdisjoint(files) for kept in self._kept.values()):
                unclaimed = index
        # of the others' the last, which they would come to last
        return next(reversed(self._files)) if unclaimed is None else unclaimed


@dataclass(frozen=True)
class Desk:
    """Where the processes of a stage ask for their turns: an actor beside the driver, with which it ends."""

    actor: Any
    """Of `Turns`; Ray's types know nothing of its methods' `remote`."""
    store: Store
    keys: tuple[str, ...]
    """Of the ingests whose crops are read, and of those that they build on."""

    @staticmethod
    def of(store: Store, ingests: Collection[StageKey], settings: RayConfig) -> "Desk | None":
        """A desk for a stage whose shards read crops of these ingests; None where it does not count who does what: in a
        store that is a folder, and on one machine."""
        if store.is_local or not ingests or len(nodes := _nodes()) < 2:
            return None
        keys = tuple(dict.fromkeys(key for ingest in ingests for key in chain(store, ingest)))
        names = [copy_name(file) for file in live_files(store, "instances", stage_keys=keys)]
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        remote = ray.remote(Turns).options(num_cpus=0, scheduling_strategy=here)
        return Desk(remote.remote(_kept(nodes, names, settings)), store, keys)

    def offer(self, rows: Sequence[Row], ids: Sequence[Sequence[str]]) -> None:
        """These are the next shards; `ids` are those of each."""
        files = live_files_of_each(self.store, "instances", ids, stage_keys=self.keys)
        ray.get(self.actor.offer.remote(rows, [[copy_name(file) for file in some] for some in files]))

    def turn(self, row: Row) -> Row:
        """What the process does that was given `row`; the very same where there is nobody at the desk any more."""
        try:
            taken: Row = ray.get(self.actor.take.remote(row["index"], ray.get_runtime_context().get_node_id()))
        except ray.exceptions.RayActorError:
            return row
        return taken

    def close(self) -> None:
        """No turn is asked for any more."""
        ray.kill(self.actor)


def _nodes() -> list[str]:
    """Living machines that may be given work."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and {"CPU", "GPU"} & node["Resources"].keys()]


def _kept(nodes: Sequence[str], names: Sequence[str], settings: RayConfig) -> dict[str, set[str]]:
    """Of the files of these names, those that each machine has."""
    shared, asked = ray.put(names), {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        asked[ray.remote(_copied).options(num_cpus=0, scheduling_strategy=there).remote(shared, settings)] = node
    kept: dict[str, set[str]] = {}
    for answer in ray.wait(list(asked), num_returns=len(asked), timeout=_SECONDS)[0]:
        try:
            kept[asked[answer]] = ray.get(answer)
        except ray.exceptions.RayError:  # it died meanwhile
            continue
    return kept


def _copied(names: Sequence[str], settings: RayConfig) -> set[str]:
    return copied(str(NodeCache.of(settings.cache_folder, settings.cache_gib).folder), names)
