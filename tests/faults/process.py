"""A stage of the micro store, to be done in a process of its own, which may be killed at a fault point."""

from dataclasses import replace
from typing import Any

from infra.store import Store
from schemas.config.optimiser import AugmentConfig
from schemas.splits import WILD_TRAIN, WILD_VALIDATION
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.training import Align
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.train.test_align_stage import commit_pairs

MIRRORED = AugmentConfig(brightness=0, contrast=0, noise=0, cutout=0, mirror=0.5)
"""Crops that come out as they are or mirrored, as the features that are kept need it."""
FAST = "fast-"
"""Begins the name of a stage that goes the ways which are the default of `paper`."""


def run(held: MicroStore, stage: str) -> StageResult:
    """Generate for wild/train (3 shards), evaluate wild/validation (2 shards), or align on invented pairs (6 steps)."""
    here = fast(held) if stage.startswith(FAST) else held.context
    stage, keys, config = stage.removeprefix(FAST), [held.ingest_key], here.config
    if stage == "generate":
        return Generate(keys, (WILD_TRAIN,), held.policy, config.generate).run(here)
    if stage == "evaluate":
        return Evaluate(keys, (WILD_VALIDATION,), held.policy, held.scorer, config.evaluate).run(here)
    pairs = commit_pairs(held.store, held.ingest_key)
    return Align(micro.of(held.ingest_key), pairs, held.policy, held.policy).run(here)


def fast(held: MicroStore) -> Context:
    """Networks in 16 bits; an alignment by micro-batches, of crops that are decoded as they are drawn, and with the
    features of its reference kept, which a file of the store's own cache holds as well."""
    config, half = held.context.config, {"precision": "bfloat16"}
    optimiser = config.align.optimiser.model_copy(update={"micro_batches": 2})
    align = {"keep_features": True, "fixed_statistics": True, "optimiser": optimiser, "augment": MIRRORED}
    ray = {"held_crops_mib": 0, "cache_folder": cache_of(held.store)}
    evaluated = config.evaluate.generate.model_copy(update=half)
    changes = {
        "generate": config.generate.model_copy(update=half),
        "score": config.score.model_copy(update=half),
        "align": config.align.model_copy(update=align),
        "evaluate": config.evaluate.model_copy(update={"generate": evaluated}),
        "ray": config.ray.model_copy(update=ray),
    }
    return replace(held.context, config=config.model_copy(update=changes))


def cache_of(store: Store) -> str:
    """Where the fast ways keep what they keep of it."""
    return f"{store.root}-cache"


def work(url: str, ingest_key: str, policy: str, scorer: str, stage: str) -> dict[str, Any]:
    """The same for `tests.faults.nursery`, which passes plain values on."""
    done = run(MicroStore(Store.open(url), ingest_key, policy, scorer), stage)
    return {"key": done.key, "units": done.record.tally.total, "rows": done.record.rows}
