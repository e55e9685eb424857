"""Score noised labels: what a scorer says of hypotheses whose errors are known exactly.

The hypotheses are those of `tasks.evaluation.noised_labels`; they are in no table, because they can be drawn
again. Scores are without the mirrored picture, as published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Final

import numpy as np

from infra.shards import Shard
from schemas.errors import ConfigError
from schemas.ids import ModelDigest, StageKey, Target
from schemas.tables import contract
from tasks.engine.context import Context
from tasks.engine.sharded import ShardOutput
from tasks.engine.stage import ShardedStage
from tasks.engine.worker import ModelWorker
from tasks.evaluate import NO_LABEL
from tasks.evaluation.bodies import body_of, gt_labels, kind_of, kinds_of
from tasks.evaluation.noised_labels import BETAS, ROTATION, NoisedLabel, noised_label
from tasks.generate import filtered, not_finite
from tasks.rows.hypotheses import errors_table
from tasks.rows.instances import Instances, instance_ids, load_instances
from tasks.rows.models import load_scorer
from tasks.score import HypothesisScorer, scores_table

NOISED: Final = "noised labels"
"""Their `label_set` in `errors`."""
ERRORS: Final = ("mpvpe", "pa_mpvpe", "mpjpe", "pa_mpjpe")


@dataclass(frozen=True)
class ScoreNoised(ShardedStage):
    """Scores and measures `hypotheses` noised labels of each instance -> tables `scores`, `errors`.

    `bodies` poses them: a folder of published bodies, or the name or file of an SMPL body. Instances without a gt label
    are filtered. The hypotheses can be drawn again.
    """

    ingests: tuple[StageKey, ...]
    target: Target
    scorer: ModelDigest
    hypotheses: int
    bodies: str

    name = "score_noised"
    writes = ("scores", "errors")

    def key_config(self, context: Context) -> Mapping[str, Any]:
        if self.hypotheses < 2:
            raise ConfigError(f"{self.hypotheses} hypotheses: a correlation needs 2 or more.")
        kinds = kinds_of(context.store, self.ingests, self.ids(context))
        return {
            "target": str(self.target),
            "hypotheses": self.hypotheses,
            "noise": [ROTATION, BETAS],
            "seed": context.config.seed,
            "score": as_published(context).config.score,
            "bodies": {" ".join(kind): body_of(self.bodies, kind).digest for kind in sorted(kinds)},
            "threads": context.config.ray.threads_per_actor,
        }

    def ids(self, context: Context) -> Sequence[str]:
        return instance_ids(context.store, self.ingests, [self.target])

    def shard_size(self, context: Context) -> int:
        return context.config.score.shard_size

    def worker(self, context: Context) -> "NoisedWorker":
        return NoisedWorker(self, context)


class NoisedWorker(ModelWorker):
    """Noises the labels of a shard's instances, and scores and measures what comes of it."""

    def __init__(self, stage: ScoreNoised, context: Context) -> None:
        super().__init__(context)
        self.stage, self.key, self.seed = stage, stage.key(context), context.config.seed
        scorer = load_scorer(self.store, stage.scorer)
        self.by_names = scorer.config.condition.is_vit
        self.score = HypothesisScorer(scorer, as_published(context).config.score, device=self.device)
        self.body_of = cache(partial(body_of, stage.bodies))

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of the tables, sorted by instance and sample."""
        instances = load_instances(self.store, self.stage.ingests, list(shard.ids))
        rows = np.flatnonzero(instances.measurable)
        detail = "what is noised is a gt label with its pelvis"
        failures = filtered(instances.ids, ~instances.measurable, NO_LABEL, detail)
        if not len(rows):
            empty = {name: contract(name).schema.empty_table() for name in ("scores", "errors")}
            return ShardOutput(empty, failures)
        labels = gt_labels(self.store, self.stage.ingests, shard.ids)
        noised = [self._noised(instances, row, labels[instances.ids[row]]) for row in rows.tolist()]
        uvd, twists = (np.stack([getattr(one, part) for one in noised]) for part in ("uvd", "twists"))
        scores = self.score(instances.crops[rows], uvd, twists)
        errors = {name: np.stack([one.errors[name] for one in noised]) for name in ERRORS}
        finite = np.isfinite(scores).all(1) & np.isfinite(np.stack([*errors.values()])).all((0, 2))
        ids, samples = [instances.ids[row] for row in rows], range(self.stage.hypotheses)
        failures += not_finite(ids, finite, "the scores or errors")
        good = np.flatnonzero(finite)
        measured = {name: values[good] for name, values in errors.items()}
        tables = {
            "errors": errors_table(self.key, instances, measured, NOISED, samples, self.partition, rows[good]),
            "scores": scores_table(self.key, ids, samples, scores, self.stage.scorer, self.partition, good),
        }
        return ShardOutput(tables, failures, ok=len(good))

    def _noised(self, instances: Instances, row: int, label: dict[str, Any]) -> NoisedLabel:
        return noised_label(
            instances.ids[row],
            label,
            self.body_of(kind_of(label)),
            instances.crop_intrinsics[row],
            instances.crop_size,
            self.stage.hypotheses,
            self.seed,
            by_names=self.by_names,
        )


_AS_PUBLISHED = {"mirror": False, "precision": "float32", "encoder_precision": "float32"}


def as_published(context: Context) -> Context:
    """The context in which scores don't look at the mirrored picture, and are computed in 32 bits."""
    config = context.config
    return replace(context, config=config.model_copy(update={"score": config.score.model_copy(update=_AS_PUBLISHED)}))
