"""Generate, score and DPO on Ray, one after the other, to be called in a process of its own (`nursery`)."""

from infra.ray_session import ray_session
from infra.store import Store
from schemas.splits import WILD_TRAIN
from tasks.engine.context import Context
from tasks.stages.generate import Generate
from tasks.stages.score import Score
from tasks.stages.training import Align
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.train.test_align_stage import commit_pairs

CONFIG = micro.CONFIG.model_copy(
    update={
        # shards enough that a second worker has some when the first one dies
        "generate": micro.CONFIG.generate.model_copy(update={"shard_size": 4}),
        "score": micro.CONFIG.score.model_copy(update={"shard_size": 4}),
    }
)
DEATHS = ("shard-file:hypotheses", "shard-file:scores", "train:step:4")
"""Where a worker dies: one in each of the three stages."""


def work(url: str, ingest_key: str, policy: str, scorer: str, in_process: bool = False) -> list[str]:
    """The keys of the stages. With `in_process`, the same without Ray."""
    held = MicroStore(Store.open(url), ingest_key, policy, scorer)
    context = Context(held.store, CONFIG, in_process=in_process)
    pairs = commit_pairs(held.store, ingest_key)
    if in_process:
        return _three(held, context, pairs)
    with ray_session(cpus=2):
        return _three(held, context, pairs)


def _three(held: MicroStore, context: Context, pairs: str) -> list[str]:
    made = Generate((held.ingest_key,), (WILD_TRAIN,), held.policy, CONFIG.generate).run(context)
    scored = Score(made.key, (held.ingest_key,), held.scorer).run(context)
    aligned = Align(micro.of(held.ingest_key), pairs, held.policy, held.policy).run(context)
    return [made.key, scored.key, aligned.key]
