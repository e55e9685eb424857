"""Score noised labels: what a scorer says of hypotheses whose errors are known exactly.

The hypotheses are those of `tasks.evaluation.noised_labels`; they are in no table, because they can be drawn
again. Scores are without the mirrored picture, as published.
"""

from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from infra.shards import Shard
from schemas.tables import contract
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.worker import ModelWorker
from tasks.evaluation.bodies import body_of, gt_labels, kind_of
from tasks.evaluation.mirrorless import as_published
from tasks.evaluation.noised_labels import NoisedLabel, noised_label
from tasks.generate import filtered, not_finite
from tasks.rows.hypotheses import errors_table
from tasks.rows.instances import NO_LABEL, Instances, load_instances
from tasks.rows.models import load_scorer
from tasks.rows.scores import scores_table
from tasks.score import HypothesisScorer

if TYPE_CHECKING:
    from tasks.stages.published_scorer import ScoreNoised

NOISED: Final = "noised labels"
"""Their `label_set` in `errors`."""
ERRORS: Final = ("mpvpe", "pa_mpvpe", "mpjpe", "pa_mpjpe")


class NoisedWorker(ModelWorker):
    """Noises the labels of a shard's instances, and scores and measures what comes of it."""

    def __init__(self, stage: "ScoreNoised", context: Context) -> None:
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
        shown = (np.stack([getattr(one, part) for one in noised]) for part in ("uvd", "twists", "betas"))
        scores, disagreement = self.score.of(instances.crops[rows], *shown)
        errors = {name: np.stack([one.errors[name] for one in noised]) for name in ERRORS}
        finite = np.isfinite(scores).all(1) & np.isfinite(np.stack([*errors.values()])).all((0, 2))
        ids, samples = [instances.ids[row] for row in rows], range(self.stage.hypotheses)
        failures += not_finite(ids, finite, "the scores or errors")
        good = np.flatnonzero(finite)
        measured = {name: values[good] for name, values in errors.items()}
        tables = {
            "errors": errors_table(self.key, instances, measured, NOISED, samples, self.partition, rows[good]),
            "scores": scores_table(
                self.key, ids, samples, scores, self.stage.scorer, self.partition, good, disagreement
            ),
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
