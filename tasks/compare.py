"""The work of comparing: evaluations side by side, as rows of `metrics`; all with the same instances and resamples.

Figures of one evaluation, per split, each with suffix _mpvpe, _mpjpe or _pa_mpjpe (mm):
    zero_noise    error of sample 0            expected   mean over the M random samples
    best_of_m     least error among them       selected   error of the one that the scorer prefers
and diversity (mm). For before and after alone: spearman_within_* and spearman_overall_* (score against error of the
random samples; 1 is perfect), and intervals of the figures themselves.

Roles: before, after, first (the campaign's first policy) and each control by its name hold the figures themselves;
change and change_<control> the relative change against before (%); change_minus_<control> the difference of the two
(percentage points); share_of_first the diversity over the first policy's. On held-out source data the changes of
zero_noise_mpvpe and expected_mpvpe are repeated as drift and drift_expected.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from infra.stages import StageRecord, find
from infra.standing import read_standing
from infra.store import Store
from infra.tables import read
from models.cameras import camera_from_uvd
from models.metrics import diversity_mm
from models.statistics import (
    Interval,
    bootstrap_difference_of_changes,
    bootstrap_mean,
    overall_spearman,
    paired_bootstrap_change,
    within_spearman,
)
from schemas.config.stages import EvaluateConfig
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey, Target
from schemas.splits import SOURCE_TEST
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.engine.stage import Rows
from tasks.rows.hypotheses import BY_SAMPLE, generated_ids, read_hypotheses
from tasks.rows.instances import in_order
from tasks.rows.metrics import DIVERSITY, Metric, metrics_table
from tasks.rows.models import policy_used

if TYPE_CHECKING:
    from tasks.stages.compare import Compare

ERRORS = ("mpvpe", "mpjpe", "pa_mpjpe")
DRIFTS = {"drift": "zero_noise_mpvpe", "drift_expected": "expected_mpvpe"}


@dataclass(frozen=True)
class EvaluationTable:
    """One split of an evaluation: N instances, sorted by id, and M + 1 samples, of which number 0 had zero noise."""

    ids: tuple[str, ...]
    errors: Mapping[str, np.ndarray]
    """By name in `ERRORS`: (N, M + 1) mm."""
    scores: np.ndarray | None
    """(N, M + 1); None where no scorer looked, as at controls."""
    diversity: np.ndarray
    """(N,) mm."""

    def among(self, ids: Sequence[str]) -> "EvaluationTable":
        """The rows of `ids`, which are sorted and all here."""
        rows = np.searchsorted(np.array(self.ids), np.array(ids))
        errors = {name: values[rows] for name, values in self.errors.items()}
        scores = None if self.scores is None else self.scores[rows]
        return EvaluationTable(tuple(ids), errors, scores, self.diversity[rows])

    def figures(self) -> dict[str, np.ndarray]:
        """Every figure that has a value for each instance: name -> (N,) mm. Nothing is selected without scores."""
        figures = {}
        for name, values in self.errors.items():
            random = values[:, 1:]
            figures[f"zero_noise_{name}"] = values[:, 0]
            figures[f"expected_{name}"] = random.mean(axis=1)
            figures[f"best_of_m_{name}"] = random.min(axis=1)
            if self.scores is not None:
                selected = 1 + np.argmax(self.scores[:, 1:], axis=1)
                figures[f"selected_{name}"] = values[np.arange(len(values)), selected]
        return figures | {DIVERSITY: self.diversity}


def evaluation_record(store: Store, evaluate_key: StageKey) -> StageRecord:
    """The record of a finished evaluation. DataError where there is none."""
    record = find(store, evaluate_key)
    if record is None or record.stage != "evaluate":
        raise DataError(f"There is no finished evaluation {evaluate_key[:12]} in {store.url}; run `adhmr evaluate`.")
    return record


def evaluation_table(store: Store, evaluate_key: StageKey) -> dict[Target, EvaluationTable]:
    """Errors, scores and diversity of a finished evaluation, by split. DataError where it is missing or incomplete."""
    record = evaluation_record(store, evaluate_key)
    hypotheses = ["instance_id", "sample_index"]
    columns = [*hypotheses, "dataset", "split", *(f"{name}_mm" for name in ERRORS)]
    errors = read(store, "errors", stage_keys=[evaluate_key], columns=columns).sort_by(BY_SAMPLE)
    scores = read(store, "scores", stage_keys=[evaluate_key], columns=[*hypotheses, "score"]).sort_by(BY_SAMPLE)
    ids = generated_ids(store, evaluate_key)
    if not ids:
        raise DataError(f"The evaluation {evaluate_key[:12]} measured no instance; see the table failures.")
    shape = (len(ids), len(errors) // len(ids))
    samples = errors.column("sample_index").to_numpy()
    if shape[1] < 2 or not np.array_equal(samples, np.tile(np.arange(shape[1]), shape[0])):
        raise DataError(f"The evaluation {evaluate_key[:12]} lacks some errors: it is not complete.")
    if len(scores) and not errors.select(hypotheses).equals(scores.select(hypotheses)):
        raise DataError(f"The evaluation {evaluate_key[:12]} has scores of other hypotheses than it has errors of.")
    diversity = _diversity(store, evaluate_key, record.reads, ids)
    whole = EvaluationTable(
        tuple(ids),
        {name: errors.column(f"{name}_mm").to_numpy().reshape(shape) for name in ERRORS},
        scores.column("score").to_numpy().reshape(shape) if len(scores) else None,
        diversity,
    )
    firsts = errors.select(["dataset", "split"]).take(np.arange(0, len(errors), shape[1])).to_pylist()
    by_target: dict[Target, list[str]] = {}
    for name, row in zip(ids, firsts, strict=True):
        by_target.setdefault(Target(row["dataset"], row["split"]), []).append(name)
    return {target: whole.among(members) for target, members in sorted(by_target.items())}


def compared(stage: "Compare", context: Context) -> Rows:
    """All metrics of a comparison."""
    store = context.store
    keys = {"before": stage.before, "after": stage.after, **stage.controls, "first": stage.first or stage.before}
    by_key = {key: evaluation_table(store, key) for key in sorted(set(keys.values()))}
    models = {role: policy_used(store, key) for role, key in keys.items()}
    metrics: list[Metric] = []
    for target in by_key[stage.before]:
        # a control may have been measured on some splits only
        by_role = {
            role: by_key[key] for role, key in keys.items() if role not in stage.controls or target in by_key[key]
        }
        metrics.extend(measure(target, _common(target, by_role), models, context.config.evaluate, stage.drift))
    return Rows({"metrics": metrics_table(metrics, stage.spec(context))})


def measure(
    target: Target,
    tables: Mapping[str, EvaluationTable],
    models: Mapping[str, ModelDigest | None],
    config: EvaluateConfig,
    drift: Sequence[Target] = (SOURCE_TEST,),
) -> Iterator[Metric]:
    """All metrics of one split. `tables` and `models` by role: before, after, first and the controls; the tables hold
    the same instances."""
    figures = {role: table.figures() for role, table in tables.items()}
    options = config.bootstrap
    n = len(tables["before"].ids)
    for role, columns in figures.items():
        if role not in ("before", "after"):
            for name, values in columns.items():
                yield Metric(name, role, target, "mm", float(values.mean()), n, model=models.get(role))
            continue
        for name, values in columns.items():
            mean = bootstrap_mean(values, **options)
            yield Metric.of(name, role, target, "mm", mean, n, models.get(role))
        yield from _rankings(target, role, tables[role], models.get(role), options)
    before = figures["before"]
    for role in figures:
        if role in ("before", "first"):
            continue
        change_role = "change" if role == "after" else f"change_{role}"
        for name, values in figures[role].items():
            if before[name].mean() <= 0:  # no diversity at all: there is nothing that it could be relative to
                continue
            change = paired_bootstrap_change(before[name], values, **options)
            yield Metric.of(name, change_role, target, "%", change, n, models.get(role))
            if role == "after" and target in drift:
                for repeated in (repeated for repeated, figure in DRIFTS.items() if figure == name):
                    yield Metric.of(repeated, "change", target, "%", change, n, models.get(role))
            if role != "after":
                apart = bootstrap_difference_of_changes(before[name], figures["after"][name], values, **options)
                yield Metric.of(
                    name, f"change_minus_{role}", target, "percentage points", apart, n, models.get("after")
                )
    first = figures["first"][DIVERSITY]
    if first.mean() > 0:
        percent = paired_bootstrap_change(first, figures["after"][DIVERSITY], **options)
        share = Interval(*(1 + part / 100 for part in percent))
        yield Metric.of(DIVERSITY, "share_of_first", target, "1", share, n, models.get("after"))


def ranking(table: EvaluationTable, error: str, resamples: int, seed: int) -> tuple[Interval, int]:
    """Spearman of score and (negative) error within an instance, over the random samples, and how many instances it
    was taken over. All nan where no instance can be ranked."""
    within = None if table.scores is None else within_spearman(table.scores[:, 1:], table.errors[error][:, 1:])
    if within is None or not within.used:
        return Interval(float("nan"), float("nan"), float("nan")), 0
    used = within.per_instance[~np.isnan(within.per_instance)]
    return bootstrap_mean(used, resamples=resamples, seed=seed), within.used


def _rankings(
    target: Target, role: str, table: EvaluationTable, model: ModelDigest | None, options: Mapping[str, int]
) -> Iterator[Metric]:
    if table.scores is None:
        return
    for error in ERRORS:
        within, used = ranking(table, error, **options)
        if used:
            yield Metric.of(f"spearman_within_{error}", role, target, "1", within, used, model)
        overall = overall_spearman(table.scores[:, 1:], table.errors[error][:, 1:])
        if np.isfinite(overall):
            yield Metric(f"spearman_overall_{error}", role, target, "1", overall, len(table.ids), model=model)


def _common(target: Target, evaluations: Mapping[str, Mapping[Target, EvaluationTable]]) -> dict[str, EvaluationTable]:
    lacking = [role for role, by_target in evaluations.items() if target not in by_target]
    if lacking:
        raise DataError(f"The evaluation of {lacking[0]} has no instance of {target}, which that of before has.")
    first, *others = (by_target[target].ids for by_target in evaluations.values())
    ids = sorted(set(first).intersection(*others))
    if not ids:
        raise DataError(f"The evaluations have no instance of {target} in common; see the table failures.")
    return {role: by_target[target].among(ids) for role, by_target in evaluations.items()}


def _diversity(store: Store, evaluate_key: StageKey, ingest_keys: Sequence[StageKey], ids: Sequence[str]) -> np.ndarray:
    """(N,) mm, of the random samples' own 29 joints, back-projected."""
    columns = ["instance_id", "crop_intrinsics", "crop_size_px"]
    cameras = in_order(read_standing(store, "instances", ingest_keys, ids=ids, columns=columns), ids)
    stored = read_hypotheses(store, evaluate_key, ids)
    uvd, depth = (part[:, 1:] for part in (stored.hypotheses.uvd, stored.hypotheses.root_depth))
    count = uvd.shape[1]
    joints = camera_from_uvd(
        torch.from_numpy(np.ascontiguousarray(uvd)).flatten(0, 1),
        torch.from_numpy(np.repeat(matrix(cameras, "crop_intrinsics"), count, axis=0)),
        int(cameras.column("crop_size_px")[0].as_py()),
        torch.from_numpy(depth.astype(np.float32)).flatten(),
    )
    spread: np.ndarray = diversity_mm(joints.unflatten(0, (len(ids), count))).numpy().astype(np.float64)
    return spread
