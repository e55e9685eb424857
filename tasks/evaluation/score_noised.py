"""Score noised labels: what a scorer says of hypotheses whose errors are known exactly.

The hypotheses are those of `tasks.evaluation.noised_labels`; they stand in no table, because they can be drawn
again. Scores are without the mirrored picture, as published.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from infra.shards import Shard
from infra.stages import Failure, StageSpec
from infra.store import Store
from schemas.config.stages import ScoreConfig
from schemas.errors import ConfigError
from schemas.tables import build, contract
from tasks.engine.context import Context, Target
from tasks.engine.sharded import ShardOutput, StageResult, run_sharded
from tasks.engine.worker import ModelWorker, actor_options, device_name
from tasks.evaluate import NO_LABEL
from tasks.evaluation.bodies import EvaluationBodies, gt_labels, kind_of, kinds_of
from tasks.evaluation.noised_labels import BETAS, ROTATION, NoisedLabel, noised_label
from tasks.generate import not_finite
from tasks.rows.hypotheses import repeated
from tasks.rows.instances import Instances, instance_ids, load_instances
from tasks.rows.models import load_scorer
from tasks.score import HypothesisScorer, scores_table

NAME, VERSION = "score_noised", 1
NOISED: Final = "noised labels"
"""Their `label_set` in `errors`."""
ERRORS: Final = ("mpvpe", "pa_mpvpe", "mpjpe", "pa_mpjpe")


def score_noised_spec(
    context: Context, ingest_keys: Sequence[str], target: Target, scorer: str, hypotheses: int, bodies: str
) -> StageSpec:
    """What `score_noised` with these arguments is going to do."""
    if hypotheses < 2:
        raise ConfigError(f"{hypotheses} hypotheses: a correlation needs 2 or more.")
    ids = instance_ids(context.store, ingest_keys, [target])
    decisive = {
        "target": str(target),
        "hypotheses": hypotheses,
        "noise": [ROTATION, BETAS],
        "seed": context.config.seed,
        "score": as_published(context).config.score,
        "bodies": EvaluationBodies(bodies).digests(kinds_of(context.store, ingest_keys, ids)),
        "threads": context.config.ray.threads_per_actor,
    }
    return context.spec(NAME, VERSION, decisive, reads=ingest_keys, models=[scorer])


def score_noised(
    context: Context, ingest_keys: Sequence[str], target: Target, scorer: str, hypotheses: int, bodies: str
) -> StageResult:
    """Scores and errors of noised labels -> tables `scores` and `errors`; the hypotheses can be drawn again."""
    spec = score_noised_spec(context, ingest_keys, target, scorer, hypotheses, bodies)
    config = as_published(context).config
    return run_sharded(
        context.store,
        spec,
        instance_ids(context.store, ingest_keys, [target]),
        config.score.shard_size,
        NoisedWorker,
        {
            "store": context.store,
            "ingest_keys": list(ingest_keys),
            "scorer": scorer,
            "hypotheses": hypotheses,
            "seed": config.seed,
            "config": config.score,
            "bodies": bodies,
            "generation_id": spec.key,
            "partition": context.partition,
            "threads": config.ray.threads_per_actor,
            "device": device_name(config.ray),
        },
        tables=["scores", "errors"],
        **actor_options(context),
    )


class NoisedWorker(ModelWorker):
    """Noises the labels of a shard's instances, and scores and measures what comes of it."""

    def __init__(
        self,
        store: Store,
        ingest_keys: Sequence[str],
        scorer: str,
        hypotheses: int,
        seed: int,
        config: ScoreConfig,
        bodies: str,
        generation_id: str,
        partition: int,
        threads: int,
        device: str,
    ) -> None:
        super().__init__(threads)
        self.store, self.ingest_keys, self.scorer_digest = store, ingest_keys, scorer
        self.hypotheses, self.seed = hypotheses, seed
        self.generation_id, self.partition = generation_id, partition
        loaded = load_scorer(store, scorer)
        self.by_names = loaded.config.condition.is_vit
        self.score = HypothesisScorer(loaded, config, device=device)
        self.bodies = EvaluationBodies(bodies)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, sorted by instance and sample."""
        instances = load_instances(self.store, self.ingest_keys, list(shard.ids))
        labelled = instances.labelled & np.isfinite(instances.root_depth)
        failures = [
            Failure(instances.ids[row], NO_LABEL, "what is noised is a gt label with its pelvis", outcome="filtered")
            for row in np.flatnonzero(~labelled)
        ]
        rows = np.flatnonzero(labelled)
        if not len(rows):
            empty = {name: contract(name).schema.empty_table() for name in ("scores", "errors")}
            return ShardOutput(empty, failures)
        labels = gt_labels(self.store, self.ingest_keys, shard.ids)
        made = [self._noised(instances, row, labels[instances.ids[row]]) for row in rows.tolist()]
        uvd, twists = (np.stack([getattr(one, part) for one in made]) for part in ("uvd", "twists"))
        scores = self.score(instances.crops[rows], uvd, twists)
        errors = {name: np.stack([one.errors[name] for one in made]) for name in ERRORS}
        finite = np.isfinite(scores).all(1) & np.isfinite(np.stack([*errors.values()])).all((0, 2))
        failures += not_finite([instances.ids[row] for row in rows], finite, "the scores or errors")
        kept = np.flatnonzero(finite)
        ids, samples = [instances.ids[row] for row in rows], np.arange(self.hypotheses)
        tables = {
            "errors": self._errors_table(instances, rows, kept, errors),
            "scores": scores_table(self.generation_id, ids, samples, scores, self.scorer_digest, self.partition, kept),
        }
        return ShardOutput(tables, failures, ok=len(kept))

    def _noised(self, instances: Instances, row: int, label: dict[str, Any]) -> NoisedLabel:
        return noised_label(
            instances.ids[row],
            label,
            self.bodies.of(kind_of(label)),
            instances.crop_intrinsics[row],
            instances.crop_size,
            self.hypotheses,
            self.seed,
            by_names=self.by_names,
        )

    def _errors_table(
        self, instances: Instances, rows: np.ndarray, kept: np.ndarray, errors: dict[str, np.ndarray]
    ) -> pa.Table:
        chosen, total = rows[kept], len(kept) * self.hypotheses
        columns: dict[str, Any] = {
            "generation_id": self.generation_id,
            "instance_id": repeated(instances.ids, chosen, self.hypotheses),
            "sample_index": np.tile(np.arange(self.hypotheses, dtype=np.int32), len(kept)),
            "label_set": NOISED,
            "dataset": repeated(instances.dataset, chosen, self.hypotheses),
            "split": repeated(instances.split, chosen, self.hypotheses),
            "round": np.full(total, self.partition, np.int32),
            "stage_key": self.generation_id,
        }
        return build("errors", columns | {f"{name}_mm": errors[name][kept].reshape(total) for name in ERRORS})


def as_published(context: Context) -> Context:
    """The context in which scores don't look at the mirrored picture."""
    config = context.config
    return replace(
        context, config=config.model_copy(update={"score": config.score.model_copy(update={"mirror": False})})
    )
