"""Evaluate: the errors are those that a direct computation gives, and its samples are generate's own."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import roma
import torch

from infra.stages import StageRecord
from infra.tables import read
from models.bodies import load_body
from models.cameras import camera_from_uvd
from models.kinematics import solve_rotations
from schemas.config.stages import EvaluateConfig
from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_TRAIN, WILD_VALIDATION
from tasks.evaluate import ErrorMeter
from tasks.rows.hypotheses import Hypotheses, generated_ids, read_hypotheses
from tasks.rows.instances import NO_LABEL, load_instances
from tasks.rows.scores import read_scores
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.score import Score
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow

CONFIG = micro.CONFIG.evaluate
TARGETS = [WILD_VALIDATION, SOURCE_TEST]
Run = Callable[..., StageRecord]


@pytest.fixture
def run(micro_store: MicroStore) -> Run:
    def evaluated(
        config: EvaluateConfig = CONFIG, temperature: float = 1.0, targets: Sequence[Target] = TARGETS
    ) -> StageRecord:
        ingests, policy, scorer = (micro_store.ingest_key,), micro_store.policy, micro_store.scorer
        stage = Evaluate(ingests, tuple(targets), policy, scorer, config, temperature)
        result = stage.run(micro_store.context)
        assert result.key == stage.key(micro_store.context)
        return result.record

    return evaluated


def errors_of(micro_store: MicroStore, key: str, name: str, ids: list[str]) -> np.ndarray:
    rows = read(micro_store.store, "errors", stage_keys=[key])
    rows = rows.sort_by([("instance_id", "ascending"), ("sample_index", "ascending")])
    assert rows.column("instance_id").to_pylist()[:: len(rows) // len(ids)] == ids
    return rows.column(name).to_numpy().reshape(len(ids), -1)


def test_errors_equal_a_direct_computation(micro_store: MicroStore, run: Run) -> None:
    key = run().stage_key
    ids = generated_ids(micro_store.store, key)
    assert len(ids) == 24
    found = load_instances(micro_store.store, [micro_store.ingest_key], ids)
    made = read_hypotheses(micro_store.store, key, ids).hypotheses
    body = load_body("tiny").double()
    body_errors = {name: errors_of(micro_store, key, f"{name}_mm", ids) for name in ("mpvpe", "mpjpe", "pa_mpjpe")}
    try:
        for row, sample in ((0, 0), (5, 3), (23, 1)):
            theta, betas, uvd, twist, own = (
                torch.tensor(part, dtype=torch.float64)[None]
                for part in (
                    found.theta[row],
                    found.betas[row],
                    made.uvd[row, sample],
                    made.twists[row, sample],
                    made.betas[row, sample],
                )
            )
            camera = torch.tensor(found.crop_intrinsics[row], dtype=torch.float64)[None]
            depth = torch.tensor([found.root_depth[row]], dtype=torch.float64)
            joints = camera_from_uvd(uvd, camera, 64, depth)
            rotations = solve_rotations(joints, body.rest_joints(own), twist, "procrustes")
            label = [part[0].numpy() for part in body(roma.rotvec_to_rotmat(theta), betas)]
            guess = [part[0].numpy() for part in body(rotations, own)]
            label_mesh, label_joints = label[0] - label[1][0], label[1][:24] - label[1][0]
            mesh, joints24 = guess[0] - guess[1][0], guess[1][:24] - guess[1][0]
            expected = {
                "mpvpe": np.linalg.norm(mesh - label_mesh, axis=1).mean() * 1000,
                "mpjpe": np.linalg.norm(joints24 - label_joints, axis=1).mean() * 1000,
                "pa_mpjpe": np.linalg.norm(aligned(joints24, label_joints) - label_joints, axis=1).mean() * 1000,
            }
            for name, value in expected.items():
                assert body_errors[name][row, sample] == pytest.approx(value, abs=0.05), (name, row, sample)
    finally:
        body.float()


def aligned(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points after the best similarity, by the textbook (Umeyama 1991)."""
    one, other = points - points.mean(0), target - target.mean(0)
    left, singular, right = np.linalg.svd(other.T @ one)
    sign = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    scale = np.trace(np.diag(singular) @ sign) / (one**2).sum()
    return scale * one @ (left @ sign @ right).T + target.mean(0)


def test_the_label_itself_has_no_error(micro_store: MicroStore) -> None:
    ids = [f"wild/test/{index:08d}#0" for index in range(12)]
    found = load_instances(micro_store.store, [micro_store.ingest_key], ids)
    perfect = Hypotheses(found.uvd[:, None], found.twists[:, None], found.betas[:, None], found.root_depth[:, None])
    errors = ErrorMeter(load_body("tiny"), "procrustes", 5)(found, perfect, np.arange(12))
    for values in errors:
        assert values.shape == (12, 1)
        assert values.max() < 1
    worse = Hypotheses(
        found.uvd[::-1, None].copy(), found.twists[:, None], found.betas[:, None], found.root_depth[:, None]
    )
    assert ErrorMeter(load_body("tiny"), "procrustes", 5)(found, worse, np.arange(12)).mpvpe.min() > 10


def test_same_samples_and_scores_as_the_stages_of_a_round(micro_store: MicroStore, run: Run) -> None:
    key, context, keys = run().stage_key, micro_store.context, [micro_store.ingest_key]
    made = Generate(keys, TARGETS, micro_store.policy, CONFIG.generate).run(context).key
    scored = Score(made, keys, micro_store.scorer).run(context).key
    ids = generated_ids(micro_store.store, key)
    assert ids == generated_ids(micro_store.store, made)
    for name in ("uvd", "twists", "betas", "root_depth"):
        one, other = (
            getattr(read_hypotheses(micro_store.store, one_key, ids).hypotheses, name) for one_key in (key, made)
        )
        assert (one == other).all()
    samples = np.arange(4)
    one, other = (read_scores(micro_store.store, one_key, ids, samples) for one_key in (key, scored))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_without_a_scorer_all_but_the_scores_is_the_same(micro_store: MicroStore, run: Run) -> None:
    with_scores = run()
    arguments = ([micro_store.ingest_key], TARGETS, micro_store.policy, None, CONFIG)
    bare = Evaluate(*arguments).run(micro_store.context)  # type: ignore[arg-type]
    assert bare.key == Evaluate(*arguments).spec(micro_store.context).key != with_scores.stage_key  # type: ignore[arg-type]
    assert bare.record.models == (micro_store.policy,)
    assert bare.record.rows == {**with_scores.rows, "scores": 0}
    one, other = (
        read(micro_store.store, "errors", stage_keys=[key]).drop_columns(["stage_key", "generation_id"])
        for key in (with_scores.stage_key, bare.key)
    )
    assert one.equals(other)


def test_less_noise_draws_samples_towards_sample_zero(micro_store: MicroStore, run: Run) -> None:
    keys = [run(temperature=temperature).stage_key for temperature in (1.0, 0.4)]
    assert keys[0] != keys[1]
    ids = generated_ids(micro_store.store, keys[0])
    usual, less = (read_hypotheses(micro_store.store, key, ids).hypotheses.uvd for key in keys)
    assert (usual[:, 0] == less[:, 0]).all()
    far, near = (np.abs(uvd[:, 1:] - uvd[:, :1]).mean() for uvd in (usual, less))
    assert near < 0.6 * far


def test_instances_without_label_are_filtered(micro_store: MicroStore, run: Run) -> None:
    record = run(targets=[WILD_TRAIN, WILD_TEST])
    assert (record.tally.ok, record.tally.filtered, record.tally.failed) == (12, 24, 0)
    reasons = read(micro_store.store, "failures", stage_keys=[record.stage_key]).column("reason").to_pylist()
    assert reasons == [NO_LABEL] * 24
    assert record.rows == {"hypotheses": 48, "scores": 48, "errors": 48, "failures": 24}
