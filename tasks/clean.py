"""Clean: pseudo-labels for photographs, what the scorer thinks of them, and the best of them kept (ADHMR, section 3.4).

Pseudo-labels come from the policy's zero-noise hypotheses, or from a table that somebody brings. To measure the filter, a share
of them can be exchanged between pictures on purpose; those have the label_set `pseudo-swapped`.
"""

import io
from collections.abc import Mapping, Sequence

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import roma
import torch
from torch import Tensor

from infra.shards import Shard
from infra.stages import Failure, StageSpec, commit_rows, find, now
from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from models.recovery import RootSolver, recover_body
from models.statistics import auc
from schemas.config.stages import GenerateConfig, ScoreConfig
from schemas.digests import bytes_digest
from schemas.errors import DataError
from schemas.tables import LABEL_AS_SAMPLE, build, conform, contract
from tasks.actors import actor_options, device_name, microbatches, prepare_torch
from tasks.compare import Metric, metrics_table
from tasks.context import Context, Target
from tasks.generate import Hypotheses, HypothesisMaker, among, not_finite
from tasks.instances import Instances, instance_ids, load_instances
from tasks.model_store import load_policy, load_scorer
from tasks.score import HypothesisScorer, scores_table
from tasks.sharded import ShardOutput, StageResult, run_sharded

OWN, SWAPPED, GIVEN, KEPT = "pseudo", "pseudo-swapped", "given", "kept"
"""Values of `label_set`: from the instance's own picture, from another's on purpose, brought by somebody, kept."""
BELOW = "score below the kept share"
NO_SCORE = "no score"
INCOMPLETE = "not all joints known"
UNKNOWN_INSTANCE = "no such instance"
OTHER_BODY = "label of another body"
FILTER = "filter"
"""The role of the metrics that `keep` writes."""


def swaps(ids: Sequence[str], share: float, seed: int) -> dict[str, str]:
    """Which instances get another's pseudo-label, and whose: a ring through `share` of them, drawn by `seed`."""
    count = round(share * len(ids))
    if count < 2:
        return {}
    ordered = sorted(ids)
    ring = np.random.Generator(np.random.Philox(seed)).permutation(len(ordered))[:count]
    return {ordered[one]: ordered[other] for one, other in zip(ring, np.roll(ring, 1), strict=True)}


def pseudo_label_spec(
    context: Context,
    ingest_keys: Sequence[str],
    targets: Sequence[Target],
    policy: str,
    swap_share: float = 0.0,
    seed: int = 0,
) -> StageSpec:
    """What `pseudo_label` with these arguments is going to do."""
    generation = context.config.generate
    decisive = {
        "shard_size": generation.shard_size,
        "microbatch": generation.microbatch,
        "targets": [str(target) for target in targets],
        "swap_share": swap_share,
        "seed": seed if swap_share else None,
        "root_solver": context.config.root_solver,
        "body": load_body(context.config.body).digest,
        "threads": context.config.ray.threads_per_actor,
    }
    return context.spec("pseudo_label", 1, decisive, reads=ingest_keys, models=[policy])


def pseudo_label(
    context: Context,
    ingest_keys: Sequence[str],
    targets: Sequence[Target],
    policy: str,
    swap_share: float = 0.0,
    seed: int = 0,
) -> StageResult:
    """The policy's zero-noise hypotheses of `targets` as pseudo-labels -> table `labels`; gt labels are not looked at.

    With `swap_share`, that share of the instances gets the hypothesis of another picture, as it stands in that one's crop.
    """
    spec = pseudo_label_spec(context, ingest_keys, targets, policy, swap_share, seed)
    ids = instance_ids(context.store, ingest_keys, targets)
    worker_args = {
        "store": context.store,
        "ingest_keys": list(ingest_keys),
        "policy": policy,
        "donors": swaps(ids, swap_share, seed),
        "config": context.config.generate,
        "body": context.config.body,
        "root": context.config.root_solver,
        "threads": context.config.ray.threads_per_actor,
        "device": device_name(context.config.ray),
    }
    return run_sharded(
        context.store,
        spec,
        ids,
        context.config.generate.shard_size,
        PseudoLabelWorker,
        worker_args,
        tables=["labels"],
        **actor_options(context),
    )


class PseudoLabelWorker:
    """Makes the pseudo-labels of a shard's instances."""

    def __init__(
        self,
        store: Store,
        ingest_keys: Sequence[str],
        policy: str,
        donors: Mapping[str, str],
        config: GenerateConfig,
        body: str,
        root: RootSolver,
        threads: int,
        device: str,
    ) -> None:
        prepare_torch(threads)
        self.store, self.ingest_keys, self.donors = store, ingest_keys, donors
        self.body, self.root, self.microbatch = load_body(body), root, config.microbatch
        self.make = HypothesisMaker(load_policy(store, policy), config, self.body, samples=(0,), device=device)

    def __call__(self, shard: Shard) -> ShardOutput:
        """Rows of `labels`, sorted by instance."""
        instances = load_instances(self.store, self.ingest_keys, list(shard.ids))
        shown = [self.donors.get(name, name) for name in shard.ids]
        seen = load_instances(self.store, self.ingest_keys, sorted(set(shown)))
        place = {name: row for row, name in enumerate(seen.ids)}
        crops = seen.crops[[place[name] for name in shown]]
        unknown = np.full(len(instances), np.nan, np.float32)
        made = self.make(instances.ids, crops, instances.crop_intrinsics, unknown)
        good = made.finite()
        rows = np.flatnonzero(good)
        failures = not_finite(instances.ids, good, "the policy's hypotheses")
        return ShardOutput({"labels": self._table(instances, made, rows)}, failures, ok=len(rows))

    def _table(self, instances: Instances, made: Hypotheses, rows: np.ndarray) -> pa.Table:
        if not len(rows):
            return contract("labels").schema.empty_table()
        theta, transl, joints = self._bodies(instances, made, rows)
        names = [instances.ids[row] for row in rows]
        columns = {
            "instance_id": names,
            "label_set": [SWAPPED if name in self.donors else OWN for name in names],
            "dataset": [instances.dataset[row] for row in rows],
            "split": [instances.split[row] for row in rows],
            "label_kind": "pseudo",
            "body_model": "smpl",
            "body_digest": self.body.digest,
            "gender": "neutral",
            "global_orient": theta[:, 0],
            "body_pose": theta[:, 1:].reshape(len(rows), 69),
            "betas": made.betas[rows, 0],
            "transl": transl,
            "joints": joints.reshape(len(rows), 87),
            "joints_valid": np.ones((len(rows), 29), bool),
            "twist": made.twists[rows, 0].reshape(len(rows), 46),
            "stage_key": "",
        }
        return build("labels", columns).drop_columns(["stage_key"])

    def _bodies(
        self, instances: Instances, made: Hypotheses, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Theta (N, 24, 3) rad, translation (N, 3) m and camera joints (N, 29, 3) m of the bodies of `rows`."""
        parts = []
        for places, used in microbatches(len(rows), self.microbatch):
            solved = self._solve(instances, made, rows[places])
            parts.append([part.numpy()[:used] for part in solved])
        theta, transl, joints = (np.concatenate(column) for column in zip(*parts, strict=True))
        return theta, transl, joints

    @torch.no_grad()
    def _solve(self, instances: Instances, made: Hypotheses, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        recovered = recover_body(
            self.body,
            *(torch.from_numpy(part[rows, 0]) for part in (made.uvd, made.twists, made.betas)),
            crop_intrinsics=torch.from_numpy(instances.crop_intrinsics[rows]),
            size=instances.crop_size,
            root_depth=torch.from_numpy(made.root_depth[rows, 0]),
            root=self.root,
        )
        transl = recovered.camera_joints[:, 0] - recovered.joints[:, 0]
        return roma.rotmat_to_rotvec(recovered.rotations), transl, recovered.joints + transl[:, None]


def given_labels_spec(context: Context, ingest_keys: Sequence[str], url: str) -> StageSpec:
    """What `given_labels` with these arguments is going to do; the file counts by its bytes, not by its name."""
    decisive = {"file": bytes_digest(_file_bytes(url)), "body": load_body(context.config.body).digest}
    return context.spec("given_labels", 1, decisive, reads=ingest_keys)


def given_labels(context: Context, ingest_keys: Sequence[str], url: str) -> StageResult:
    """Somebody's pseudo-labels, a Parquet file with the columns of `labels` -> table `labels`; used like `pseudo_label`'s.

    Data set, split, label_set, label_kind and stage_key are filled in, whatever the file says of them. Rows of unknown
    instances fail, those for another body are filtered. DataError for a file that can't be read or lacks columns.
    """
    spec = given_labels_spec(context, ingest_keys, url)
    record = find(context.store, spec.key)
    if record is not None:
        context.progress.say(f"given_labels: reused ({spec.key[:12]})")
        return StageResult(record, reused=True)
    started_at = now()
    try:
        given = pq.read_table(io.BytesIO(_file_bytes(url)))
    except pa.ArrowException as error:
        raise DataError(f"{url} is no Parquet file that can be read: {error}") from error
    if "instance_id" not in given.column_names:
        raise DataError(f"{url} has no column instance_id; a table of labels needs it.")
    columns = ["instance_id", "dataset", "split"]
    known = read(context.store, "instances", stage_keys=list(ingest_keys), columns=columns).to_pylist()
    place = {row["instance_id"]: row for row in known}
    names = given.column("instance_id").to_pylist()
    here = [name in place for name in names]
    failures = [
        Failure(str(name), UNKNOWN_INSTANCE, f"a label in {url}") for name, is_here in zip(names, here, strict=True) if not is_here
    ]
    given = given.filter(pa.array(here))
    where = [place[name] for name in given.column("instance_id").to_pylist()]
    fixed = {
        "dataset": [row["dataset"] for row in where],
        "split": [row["split"] for row in where],
        "label_set": [GIVEN] * len(where),
        "label_kind": ["pseudo"] * len(where),
        "stage_key": [spec.key] * len(where),
    }
    given = given.drop_columns([name for name in fixed if name in given.column_names])
    for name, texts in fixed.items():
        given = given.append_column(name, pa.array(texts, pa.string()))
    given = conform("labels", given)
    fits = [body == spec_body for body in given.column("body_digest").to_pylist()] if (spec_body := load_body(context.config.body).digest) else []
    failures += [
        Failure(name, OTHER_BODY, f"a label in {url}; this campaign uses the body {context.config.body}", outcome="filtered")
        for name, fit in zip(given.column("instance_id").to_pylist(), fits, strict=True)
        if not fit
    ]
    record = commit_rows(
        context.store,
        spec,
        {"labels": given.filter(pa.array(fits, pa.bool_()))},
        units_in=len(names),
        failures=failures,
        started_at=started_at,
    )
    return StageResult(record, reused=False)


def score_labels_spec(context: Context, ingest_keys: Sequence[str], label_key: str, scorer: str) -> StageSpec:
    """What `score_labels` with these arguments is going to do."""
    decisive = {"score": context.config.score, "threads": context.config.ray.threads_per_actor}
    return context.spec("score_labels", 1, decisive, reads=[label_key, *ingest_keys], models=[scorer])


def score_labels(context: Context, ingest_keys: Sequence[str], label_key: str, scorer: str) -> StageResult:
    """Score the labels that the stage `label_key` wrote -> table `scores`, sample_index -1, generation_id `label_key`."""
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


class ScoreLabelsWorker:
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
        prepare_torch(threads)
        self.store, self.ingest_keys, self.label_key = store, ingest_keys, label_key
        self.scorer_digest, self.partition = scorer, partition
        self.scorer = HypothesisScorer(load_scorer(store, scorer), config, device=device)

    def __call__(self, shard: Shard) -> ShardOutput:
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
    share = context.config.clean.keep_share if keep_share is None else keep_share
    return context.spec("keep", 1, {"keep_share": share}, reads=[label_key, score_key])


def keep(context: Context, label_key: str, score_key: str, keep_share: float | None = None) -> StageResult:
    """Keep the best-scored share of the labels of `label_key` (default: as configured) -> table `labels`, label_set "kept".

    The others end in `failures`, filtered, with their score. Metrics per split, role "filter": kept_share, least_kept_score,
    mean_score and, where labels were swapped on purpose, auc (how well the score tells them) and swapped_among_kept.
    """
    store, spec = context.store, keep_spec(context, label_key, score_key, keep_share)
    record = find(store, spec.key)
    if record is not None:
        context.progress.say(f"keep: reused, {record.tally.ok} labels ({spec.key[:12]})")
        return StageResult(record, reused=True)
    started_at = now()
    labels = read(store, "labels", stage_keys=[label_key]).sort_by("instance_id")
    rows = read(store, "scores", stage_keys=[score_key], columns=["instance_id", "score", "scorer"])
    score_of = dict(zip(rows.column("instance_id").to_pylist(), rows.column("score").to_pylist(), strict=True))
    names = labels.column("instance_id").to_pylist()
    failures = [Failure(name, NO_SCORE, f"not scored by the stage {score_key[:12]}", outcome="filtered") for name in names if name not in score_of]
    labels = labels.filter(pa.array([name in score_of for name in names], pa.bool_()))
    names = labels.column("instance_id").to_pylist()
    if not names:
        raise DataError(f"None of the labels of stage {label_key[:12]} has a score by stage {score_key[:12]}.")
    scores = np.array([score_of[name] for name in names])
    kept = best_share(scores, spec.config["keep_share"] if isinstance(spec.config, Mapping) else 1.0)
    least = float(scores[kept].min()) if kept.any() else 1.0
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
        units_in=len(score_of.keys() | set(names)),
        failures=failures,
        started_at=started_at,
    )
    context.progress.say(f"keep: {record.tally.ok} of {record.units_in} labels, scores from {least:.3f} up")
    return StageResult(record, reused=False)


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


def _file_bytes(url: str) -> bytes:
    try:
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read()
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"The table of labels {url} can't be opened: {error}") from error
    return data
