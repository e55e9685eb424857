"""What drawing a step's batch takes beside the step: DPO at the published sizes on crops that lie encoded on a disk.

The step is the shortest in 32 bits, with a frozen encoder whose features are kept in memory. On a CPU its batch is
drawn before it, by the same cores, so what drawing takes is what the step waits for its data.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from infra.node_cache import NodeCache
from infra.store import Store
from tasks.engine.loop import step_draw
from tasks.engine.share import WHOLE
from tasks.rows.mix import Mix
from tasks.rows.streams import Space
from tasks.train.align import AlignRecipe
from tasks.train.align_batch import DrawnPairs
from tasks.train.pairs import load_pairs
from tests.benchmarks.figures import Goal, Measured, Way, measure
from tests.benchmarks.paper_networks import Networks, alignment, frozen_step, step
from tests.tasks import micro
from tests.tasks.many_people import SPLIT, make_many

_GOAL: Final = 0.05
"""Of the step, that it should wait for its data at most."""
_PEOPLE: Final = 1000


def drawing(networks: Networks, folder: Path, repeats: int) -> Measured:
    """A step, and what drawing one takes where its crops have to be decoded, and where features lie in the file of the
    cache."""
    data = folder / "drawing"
    example, _ = micro.make_store(data / "example")
    store, size = Store.open(data / "store"), networks.config.policy.condition.image_size
    ingest, pairs_key = make_many(store, example, _PEOPLE, size)
    cache = NodeCache.of(str(data / "cache"), 8)
    pairs = load_pairs(store, pairs_key, Mix((ingest,), (SPLIT,)), Space(cache, 0))
    fresh = alignment(networks, pairs, keep_features=False)
    filed = alignment(networks, pairs, features_bytes=0, cache=cache)
    for number in range(repeats + 1):  # those that are timed find all of their crops in the file
        filed.kept.seen(_drawn(filed, number).fetched)
    training = frozen_step(networks, "float32")
    goals = (Goal("part", _GOAL),)
    ways = {
        "the engine, float32": Way(lambda: step(training)),
        f"drawing it: JPEG files of {size} px": Way(_next_of(fresh), goals=goals),
        "drawing it: features of the cache's file": Way(_next_of(filed), goals=goals),
    }
    title = f"a step of DPO on {networks.pairs} crops, encoder frozen, and its data"
    return measure(title, "step", ways, repeats=repeats)


def _next_of(recipe: AlignRecipe) -> Callable[[], DrawnPairs]:
    """Draws one step after the other: other crops each time."""
    steps = iter(range(2**31))
    return lambda: _drawn(recipe, next(steps))


def _drawn(recipe: AlignRecipe, number: int) -> DrawnPairs:
    return recipe.draw(number, step_draw(recipe.seed, number)[0], WHOLE)
