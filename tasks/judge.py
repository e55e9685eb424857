"""The work of judging: what a second scorer says of two policies on people who are learned from by neither.

Figures, per split, of the zero-noise hypothesis but where it is said otherwise:
    judge_zero_noise   score that the judge gives it     judge_expected   its mean score of the M random samples
    judge_prefers      share of people whose hypothesis it likes better after than before, ties half
    beyond_limits      share of bodies with a joint beyond what a joint can do
    bone_miss          what its bones, back-projected, miss of the lengths that its own betas give them

Roles: before and after hold the figures themselves, change their difference, after less before, paired over people.
Nothing of this is an error: a body that the judge likes and that can be may still be wrong.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from infra.standing import read_standing
from infra.store import Store
from infra.tables import read_ids
from models.bodies import load_body
from models.cameras import camera_from_uvd
from models.kinematics import solve_rotations
from models.plausibility import beyond_limits, bone_miss
from models.statistics import bootstrap_mean
from schemas.errors import DataError
from schemas.ids import ModelDigest, StageKey, Target, split_of
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.engine.stage import Rows
from tasks.rows.hypotheses import generated_ids, read_hypotheses
from tasks.rows.instances import in_order
from tasks.rows.metrics import BEYOND, BONES, EXPECTED, PREFERS, SCORE, Metric, metrics_table
from tasks.rows.models import policy_used
from tasks.rows.scores import read_scores

if TYPE_CHECKING:
    from tasks.stages.judge import Judge

UNITS = {SCORE: "score", EXPECTED: "score", BEYOND: "%", BONES: "%"}
"""Of the figures that both policies have."""
_AT_ONCE = 500


def judged(stage: "Judge", context: Context) -> Rows:
    """All metrics of what a judge finds."""
    ids = _common(stage, context.store)
    sides = (("before", stage.before, stage.scores_before), ("after", stage.after, stage.scores_after))
    figures = {role: _figures(stage, context, generation, scores, ids) for role, generation, scores in sides}
    models = {role: policy_used(context.store, generation) for role, generation, _ in sides}
    targets = np.array([str(split_of(name)) for name in ids])
    metrics: list[Metric] = []
    for target in sorted({split_of(name) for name in ids}):
        here = targets == str(target)
        of_split = {role: {name: values[here] for name, values in columns.items()} for role, columns in figures.items()}
        metrics += _compared(context, target, of_split, models)
    return Rows({"metrics": metrics_table(metrics, stage.spec(context))}, units=len(ids))


def _common(stage: "Judge", store: Store) -> list[str]:
    """Who has hypotheses and scores of both, by name."""
    generated = [set(generated_ids(store, key)) for key in (stage.before, stage.after)]
    for key in (stage.scores_before, stage.scores_after):
        generated.append(set(read_ids(store, "scores", stage_keys=[key]).to_pylist()))
    ids = sorted(set.intersection(*generated))
    if not ids:
        raise DataError("The judge has nobody whom it could give scores before and after; see the table failures.")
    return ids


def _figures(
    stage: "Judge", context: Context, generation: StageKey, scored: StageKey, ids: Sequence[str]
) -> dict[str, np.ndarray]:
    """Every figure of each person of a generation: name -> (N,)."""
    parts = [_of(stage, context, generation, scored, ids[at : at + _AT_ONCE]) for at in range(0, len(ids), _AT_ONCE)]
    return {name: np.concatenate([part[name] for part in parts]) for name in UNITS}


def _of(
    stage: "Judge", context: Context, generation: StageKey, scored: StageKey, ids: Sequence[str]
) -> dict[str, np.ndarray]:
    store, body = context.store, load_body(context.config.body)
    stored = read_hypotheses(store, generation, ids)
    scores = read_scores(store, scored, ids, stored.samples)
    columns = ["instance_id", "crop_intrinsics", "crop_size_px"]
    cameras = in_order(read_standing(store, "instances", stage.ingests, ids=ids, columns=columns), ids)
    uvd, twists, betas, depth = (
        torch.from_numpy(np.ascontiguousarray(part[:, 0])).float()
        for part in (
            stored.hypotheses.uvd,
            stored.hypotheses.twists,
            stored.hypotheses.betas,
            stored.hypotheses.root_depth,
        )
    )
    intrinsics = torch.from_numpy(matrix(cameras, "crop_intrinsics").astype(np.float32))
    joints = camera_from_uvd(uvd, intrinsics, int(cameras.column("crop_size_px")[0].as_py()), depth)
    rest = body.rest_joints(betas)
    rotations = solve_rotations(joints, rest, twists, context.config.root_solver)
    return {
        SCORE: scores[:, 0],
        EXPECTED: scores[:, 1:].mean(axis=1),
        BEYOND: 100 * beyond_limits(rotations, rest).any(1).double().numpy(),
        BONES: 100 * bone_miss(joints, rest).double().numpy(),
    }


def _compared(
    context: Context,
    target: Target,
    figures: Mapping[str, Mapping[str, np.ndarray]],
    models: Mapping[str, ModelDigest | None],
) -> Iterator[Metric]:
    """The metrics of one split."""
    options = context.config.evaluate.bootstrap
    before, after = figures["before"], figures["after"]
    n = len(after[SCORE])
    for name, unit in UNITS.items():
        for role in figures:
            mean = bootstrap_mean(figures[role][name], **options)
            yield Metric.of(name, role, target, unit, mean, n, models[role])
        change = bootstrap_mean(after[name] - before[name], **options)
        of_change = "percentage points" if unit == "%" else unit
        yield Metric.of(name, "change", target, of_change, change, n, models["after"])
    better = (np.sign(after[SCORE] - before[SCORE]) + 1) / 2
    yield Metric.of(PREFERS, "after", target, "1", bootstrap_mean(better, **options), n, models["after"])
