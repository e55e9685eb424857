"""The filtering: the scorer looks at every pseudo-label, and what one of the filters finds good is kept."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from infra.shards import Shard
from infra.stages import Failure, find
from infra.tables import read
from models.calibration import Calibration
from models.statistics import auc
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey, Target
from schemas.tables import LABEL_AS_SAMPLE
from tasks.clean.filters import FILTERS, ScoredLabels
from tasks.clean.names import FILTER, INCOMPLETE, KEPT, NO_SCORE, SWAPPED_SUFFIX
from tasks.engine.context import Context
from tasks.engine.results import ShardOutput
from tasks.engine.stage import Rows
from tasks.engine.worker import ModelWorker
from tasks.generate import filtered, not_finite
from tasks.half_encoder import some_of
from tasks.half_scorer import Posed
from tasks.rows.calibrations import read_calibration
from tasks.rows.instances import load_instances
from tasks.rows.metrics import Metric, metrics_table
from tasks.rows.scores import scores_table
from tasks.score import checked_scorer

if TYPE_CHECKING:
    from tasks.stages.clean import Keep, ScoreLabels


class ScoreLabelsWorker(ModelWorker):
    """Scores the labels of a shard's instances."""

    def __init__(self, stage: "ScoreLabels", context: Context) -> None:
        super().__init__(context)
        self.stage = stage
        config, drawn = context.config.score, stage.labels
        self.score = checked_scorer(
            self.store, stage.scorer, config, self.device, drawn, lambda: self._some(some_of(stage.ids(context)))
        )

    def _some(self, ids: list[str]) -> Posed:
        people = load_instances(self.store, self.stage.ingests, ids, [self.stage.labels])
        complete = np.isfinite(people.uvd).all(axis=(1, 2))
        given = (people.uvd, people.twists, people.betas)
        return Posed(people.crops[complete], *(part[complete, None] for part in given))

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of `scores`, sorted by instance."""
        instances = load_instances(self.store, self.stage.ingests, list(shard.ids), [self.stage.labels])
        complete = np.isfinite(instances.uvd).all(axis=(1, 2))
        uvd = np.where(complete[:, None, None], instances.uvd, np.float32(0))
        shown = uvd[:, None], instances.twists[:, None], instances.betas[:, None]
        scores, disagreement = self.score.of(instances.crops, *shown)
        good = np.isfinite(scores[:, 0])
        failures = filtered(instances.ids, ~complete, INCOMPLETE, "the scorer looks at all 29")
        failures += not_finite(instances.ids, good | ~complete, "the scores")
        rows = np.flatnonzero(complete & good)
        named = self.stage.labels, instances.ids, [LABEL_AS_SAMPLE]
        table = scores_table(*named, scores, self.stage.scorer, self.partition, rows, disagreement)
        return ShardOutput({"scores": table}, failures, ok=len(rows))


def filtered_labels(stage: "Keep", context: Context) -> Rows:
    """The labels that are kept, those that are not as failures, and the filter's metrics."""
    store = context.store
    labels = read(store, "labels", stage_keys=[stage.labels]).sort_by("instance_id")
    rows = read(store, "scores", stage_keys=[stage.scores], columns=["instance_id", "score", "scorer"])
    score_of = dict(zip(rows.column("instance_id").to_pylist(), rows.column("score").to_pylist(), strict=True))
    every = labels.column("instance_id").to_pylist()
    unscored = [name for name in every if name not in score_of]
    labels = labels.filter(pa.array([name in score_of for name in every], pa.bool_()))
    names = labels.column("instance_id").to_pylist()
    if not names:
        raise DataError(f"None of the labels of stage {stage.labels[:12]} has a score by stage {stage.scores[:12]}.")
    scores = np.array([score_of[name] for name in names])
    given, chosen = _given(stage, context, scores), FILTERS[stage.filter]
    kept = chosen.keep(given)
    least = float(scores[kept].min()) if kept.any() else 1.0
    limit = f"least kept {least:.6f}" if kept.any() else "none was kept"
    failures = [
        Failure(name, NO_SCORE, f"stage {stage.scores[:12]} did not score it", outcome="filtered") for name in unscored
    ]
    failures += [
        Failure(name, chosen.reason, f"score {value:.6f}, {limit}", outcome="filtered")
        for name, value, is_kept in zip(names, scores, kept, strict=True)
        if not is_kept
    ]
    metrics = _filter_metrics(labels, scores, kept, rows.column("scorer")[0].as_py(), given.calibration)
    place = labels.schema.get_field_index("label_set")
    kept_labels = labels.set_column(place, "label_set", pa.array([KEPT] * len(names), pa.string()))
    tables = {
        "labels": kept_labels.filter(pa.array(kept)).drop_columns(["stage_key"]),
        "metrics": metrics_table(metrics, stage.spec(context)),
    }
    summary = f"{int(kept.sum())} of {len(every)} labels, scores from {least:.3f} up"
    return Rows(tables, failures, units=len(every), summary=summary)


def _given(stage: "Keep", context: Context, scores: np.ndarray) -> ScoredLabels:
    """What filters go by."""
    store, clean = context.store, context.config.clean
    like = None if stage.like is None else find(store, stage.like)
    return ScoredLabels(
        scores,
        stage.kept_share(context),
        clean.max_error_mm,
        clean.least_chance,
        None if stage.calibration is None else read_calibration(store, stage.calibration).curve,
        0 if like is None else like.rows.get("labels", 0),
        clean.seed,
    )


def why_none(stage: "Keep", context: Context, key: StageKey) -> str:
    """Why this stage, finished under `key`, kept no label, and what to do about it; empty if it kept some."""
    record = find(context.store, key)
    if record is None or record.rows.get("labels", 0):
        return ""
    scores = read(context.store, "scores", stage_keys=[stage.scores], columns=["score"]).column("score").to_numpy()
    given = _given(stage, context, scores)
    problem = f"None of {record.units_in} labels passes the filter {stage.filter}"
    if stage.filter == "quantile":
        return f"{problem}: clean.keep_share is {given.share:g}. Raise that."
    if given.calibration is None:
        return f"{problem}; set clean.filter=quantile, which keeps a share."
    least = float(given.calibration.of(given.scores).min())
    return (
        f"{problem}: by its score the best has an error of {least:.1f} mm, and clean.max_error_mm is "
        f"{given.max_error_mm:g}. Raise that, or set clean.filter=quantile."
    )


def _filter_metrics(
    labels: pa.Table, scores: np.ndarray, kept: np.ndarray, scorer: ModelDigest, calibration: Calibration | None
) -> list[Metric]:
    swapped = np.array([name.endswith(SWAPPED_SUFFIX) for name in labels.column("label_set").to_pylist()])
    pairs = zip(labels.column("dataset").to_pylist(), labels.column("split").to_pylist(), strict=True)
    targets = [Target(*pair) for pair in pairs]
    metrics: list[Metric] = []
    for target in sorted(set(targets)):
        in_target = np.array([other == target for other in targets])
        n = int(in_target.sum())
        numbers = {"kept_share": float(kept[in_target].mean()), "mean_score": float(scores[in_target].mean())}
        if (kept & in_target).any():
            numbers["least_kept_score"] = float(scores[kept & in_target].min())
        if (swapped & in_target).any():
            numbers["swapped_share"] = float(swapped[in_target].mean())
            if (kept & in_target).any():
                numbers["swapped_among_kept"] = float(swapped[kept & in_target].mean())
            if (~swapped & in_target).any():
                numbers["auc"] = auc(scores[in_target & ~swapped], scores[in_target & swapped])
        metrics += [Metric(name, FILTER, target, "1", value, n, model=scorer) for name, value in numbers.items()]
        if calibration is not None and (kept & in_target).any():
            error = float(calibration.of(scores[kept & in_target]).mean())
            metrics.append(Metric("kept_expected_error", FILTER, target, "mm", error, n, model=scorer))
    return metrics
