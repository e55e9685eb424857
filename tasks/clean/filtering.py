"""The filter: the scorer looks at every pseudo-label, and the best-scored share of them is kept."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from infra.repair import find_or_mend
from infra.shards import Shard
from infra.stages import Failure, StageSpec, commit_rows, now
from infra.store import Store
from infra.tables import read
from models.statistics import auc
from schemas.config.stages import ScoreConfig
from schemas.errors import DataError
from schemas.tables import LABEL_AS_SAMPLE
from tasks.clean.names import BELOW, FILTER, INCOMPLETE, KEPT, NO_SCORE, SWAPPED
from tasks.engine.context import Context, Target
from tasks.engine.sharded import ShardOutput, StageResult, run_sharded
from tasks.engine.worker import ModelWorker, actor_options, device_name
from tasks.generate import not_finite
from tasks.rows.instances import load_instances
from tasks.rows.metrics import Metric, metrics_table
from tasks.rows.models import load_scorer
from tasks.score import HypothesisScorer, scores_table


def score_labels_spec(context: Context, ingest_keys: Sequence[str], label_key: str, scorer: str) -> StageSpec:
    """What `score_labels` with these arguments is going to do."""
    decisive = {"score": context.config.score, "threads": context.config.ray.threads_per_actor}
    return context.spec("score_labels", 1, decisive, reads=[label_key, *ingest_keys], models=[scorer])


def score_labels(context: Context, ingest_keys: Sequence[str], label_key: str, scorer: str) -> StageResult:
    """Score the labels of the stage `label_key` -> table `scores`, sample_index -1, generation_id `label_key`."""
    spec = score_labels_spec(context, ingest_keys, label_key, scorer)
    worker_args = {
        "store": context.store,
        "ingest_keys": list(ingest_keys),
        "label_key": label_key,
        "scorer": scorer,
        "config": context.config.score,
        "partition": context.partition,
        "threads": context.config.ray.threads_per_actor,
        "device": device_name(context.config.ray),
    }
    ids = read(context.store, "labels", stage_keys=[label_key], columns=["instance_id"]).column("instance_id")
    return run_sharded(
        context.store,
        spec,
        ids.to_pylist(),
        context.config.score.shard_size,
        ScoreLabelsWorker,
        worker_args,
        tables=["scores"],
        **actor_options(context),
    )


class ScoreLabelsWorker(ModelWorker):
    """Scores the labels of a shard's instances."""

    def __init__(
        self,
        store: Store,
        ingest_keys: Sequence[str],
        label_key: str,
        scorer: str,
        config: ScoreConfig,
        partition: int,
        threads: int,
        device: str,
    ) -> None:
        super().__init__(threads)
        self.store, self.ingest_keys, self.label_key = store, ingest_keys, label_key
        self.scorer_digest, self.partition = scorer, partition
        self.scorer = HypothesisScorer(load_scorer(store, scorer), config, device=device)

    def work(self, shard: Shard) -> ShardOutput:
        """Rows of `scores`, sorted by instance."""
        found = load_instances(self.store, self.ingest_keys, list(shard.ids), [self.label_key])
        complete = np.isfinite(found.uvd).all(axis=(1, 2))
        uvd = np.where(complete[:, None, None], found.uvd, np.float32(0))
        scores = self.scorer(found.crops, uvd[:, None], found.twists[:, None])
        good = np.isfinite(scores[:, 0])
        failures = [
            Failure(found.ids[row], INCOMPLETE, "the scorer looks at all 29", outcome="filtered")
            for row in np.flatnonzero(~complete)
        ]
        failures += not_finite(found.ids, good | ~complete, "the scores")
        rows = np.flatnonzero(complete & good)
        table = scores_table(
            self.label_key, found.ids, [LABEL_AS_SAMPLE], scores, self.scorer_digest, self.partition, rows
        )
        return ShardOutput({"scores": table}, failures, ok=len(rows))


def best_share(scores: np.ndarray, share: float) -> np.ndarray:
    """(N,) bool: the `share` of scores (N,) that is highest; among equal ones the first."""
    kept = np.zeros(len(scores), bool)
    kept[np.argsort(-scores, kind="stable")[: round(share * len(scores))]] = True
    return kept


def keep_spec(context: Context, label_key: str, score_key: str, keep_share: float | None = None) -> StageSpec:
    """What `keep` with these arguments is going to do."""
    return context.spec("keep", 1, {"keep_share": _share(context, keep_share)}, reads=[label_key, score_key])


def keep(context: Context, label_key: str, score_key: str, keep_share: float | None = None) -> StageResult:
    """Keep the best-scored share of the labels of `label_key` -> table `labels`, label_set "kept".

    `keep_share` is the configured one unless given. The others end in `failures`, filtered, with their score. Metrics
    per split, role "filter": kept_share, mean_score, least_kept_score and, where labels were swapped on purpose,
    swapped_share, swapped_among_kept, and auc: how well the score tells the swapped from the others.
    """
    store, spec = context.store, keep_spec(context, label_key, score_key, keep_share)
    record = find_or_mend(store, spec, context.progress.say)
    if record is not None:
        context.progress.say(f"keep: reused, {record.tally.ok} labels ({spec.key[:12]})")
        return StageResult(record, reused=True)
    started_at = now()
    labels = read(store, "labels", stage_keys=[label_key]).sort_by("instance_id")
    rows = read(store, "scores", stage_keys=[score_key], columns=["instance_id", "score", "scorer"])
    score_of = dict(zip(rows.column("instance_id").to_pylist(), rows.column("score").to_pylist(), strict=True))
    every = labels.column("instance_id").to_pylist()
    unscored = [name for name in every if name not in score_of]
    names = [name for name in every if name in score_of]
    if not names:
        raise DataError(f"None of the labels of stage {label_key[:12]} has a score by stage {score_key[:12]}.")
    labels = labels.filter(pa.array([name in score_of for name in every], pa.bool_()))
    scores = np.array([score_of[name] for name in names])
    kept = best_share(scores, _share(context, keep_share))
    least = float(scores[kept].min()) if kept.any() else 1.0
    failures = [
        Failure(name, NO_SCORE, f"stage {score_key[:12]} did not score it", outcome="filtered") for name in unscored
    ]
    failures += [
        Failure(name, BELOW, f"score {value:.6f}, least kept {least:.6f}", outcome="filtered")
        for name, value, is_kept in zip(names, scores, kept, strict=True)
        if not is_kept
    ]
    metrics = _filter_metrics(labels, scores, kept, rows.column("scorer")[0].as_py())
    place = labels.schema.get_field_index("label_set")
    kept_labels = labels.set_column(place, "label_set", pa.array([KEPT] * len(names), pa.string()))
    record = commit_rows(
        store,
        spec,
        {
            "labels": kept_labels.filter(pa.array(kept)).drop_columns(["stage_key"]),
            "metrics": metrics_table(metrics, spec),
        },
        units_in=len(every),
        failures=failures,
        started_at=started_at,
    )
    context.progress.say(f"keep: {record.tally.ok} of {record.units_in} labels, scores from {least:.3f} up")
    return StageResult(record, reused=False)


def _share(context: Context, keep_share: float | None) -> float:
    return context.config.clean.keep_share if keep_share is None else keep_share


def _filter_metrics(labels: pa.Table, scores: np.ndarray, kept: np.ndarray, scorer: str) -> list[Metric]:
    swapped = np.array([name == SWAPPED for name in labels.column("label_set").to_pylist()])
    pairs = zip(labels.column("dataset").to_pylist(), labels.column("split").to_pylist(), strict=True)
    targets = [Target(*pair) for pair in pairs]
    found: list[Metric] = []
    for target in sorted(set(targets)):
        here = np.array([other == target for other in targets])
        n = int(here.sum())
        numbers = {"kept_share": float(kept[here].mean()), "mean_score": float(scores[here].mean())}
        if (kept & here).any():
            numbers["least_kept_score"] = float(scores[kept & here].min())
        if (swapped & here).any():
            numbers["swapped_share"] = float(swapped[here].mean())
            if (kept & here).any():
                numbers["swapped_among_kept"] = float(swapped[kept & here].mean())
            if (~swapped & here).any():
                numbers["auc"] = auc(scores[here & ~swapped], scores[here & swapped])
        found += [Metric(name, FILTER, target, "1", value, n, model=scorer) for name, value in numbers.items()]
    return found
