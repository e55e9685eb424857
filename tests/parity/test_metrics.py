"""Errors, alignments, aggregates and correlations against the published evaluations, in millimetres."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from models.cameras import affine_intrinsics
from models.joint_sets import regress
from models.metrics import procrustes_align
from models.published_crops import CROP_PX, crop_joints, joints_through, normalised_joints
from models.published_metrics import (
    PublishedCandidates,
    PublishedErrors,
    published_candidates,
    published_joint_errors_mm,
    published_mpvpe_mm,
)
from models.recovery import recover_body
from models.statistics import published_correlations
from tests.parity.body import body, human36m_regressor
from tests.parity.people import COUNT, INTRINSICS, people, target
from tests.parity.published import Aggregates, aggregates, quaternions_from_rotations, table
from tests.parity.rules import FIXTURES, assert_golden, golden, normal, rng

ADHMR, SCORER = "08_metrics_adhmr.npz", "08_metrics_scorer.npz"
MM = 1e-3


def _stored(name: str) -> Tensor:
    return torch.from_numpy(golden(ADHMR)[name])


def test_alignment_by_the_best_similarity() -> None:
    points, label = (torch.from_numpy(rng(f"in:pa.{name}").standard_normal((5, 14, 3)) * 200) for name in ("S1", "S2"))
    points[3] = label[3] * torch.tensor([-1, 1, 1]) * 1.3
    aligned = procrustes_align(points, label)
    assert_golden(aligned, ADHMR, "pa.S1_hat", atol=MM)
    assert_golden((aligned - label).norm(dim=-1).mean(-1), ADHMR, "pa.pa_mpjpe", atol=MM)


@pytest.mark.parametrize("order", ["3dpw", "human36m"])
def test_errors_of_14_joints_in_both_orders(order: str) -> None:
    joints, label = _stored("in.eval_pred_xyz17") * 2, _stored("in.eval_gt") / 1000
    errors = published_joint_errors_mm(joints, label, order)  # type: ignore[arg-type]
    stored = {"3dpw": "pw3d", "human36m": "h36m"}[order]
    assert_golden(errors.mpjpe, ADHMR, f"eval17.{stored}.mpjpe_per_joint", atol=MM)
    assert_golden(errors.pa_mpjpe, ADHMR, f"eval17.{stored}.pa_per_joint", atol=MM)


def _published_sample(dtype: torch.dtype) -> tuple[PublishedCandidates, Tensor, PublishedErrors, Tensor, Tensor]:
    """Candidates, their mesh errors (6, 10), joint errors (6, 10, 14), rotations, and Human3.6M joints."""
    who, poser = people(), copy.deepcopy(body()).to(dtype)
    uvd = normalised_joints(_stored("sample.in_hyp_joints").to(dtype))
    candidates = published_candidates(uvd, _stored("sample.in_hyp_twist").to(dtype), _stored("sample.in_scores"))
    each = candidates.uvd.shape[1]

    def repeated(value: Tensor) -> Tensor:
        return value.to(dtype).repeat_interleave(each, 0)

    crops = affine_intrinsics(INTRINSICS.expand(COUNT, 4), target("trans"))
    recovered = recover_body(
        poser,
        candidates.uvd.flatten(0, 1),
        candidates.twists.flatten(0, 1),
        repeated(who.betas + normal("sm.shape", (COUNT, 10), 0.2)),
        repeated(crops),
        CROP_PX,
        repeated(target("joint_root")[:, 2] / 1000),
        root="published",
    )
    regressor = human36m_regressor().to(dtype)
    joints = regress(regressor, recovered.vertices).unflatten(0, (COUNT, each))
    labelled = poser(who.rotations.to(dtype), who.betas.to(dtype)).vertices
    mpvpe = published_mpvpe_mm(
        recovered.vertices.unflatten(0, (COUNT, each)),
        joints,
        labelled[:, None],
        regress(regressor, labelled)[:, None],
    )
    errors = published_joint_errors_mm(joints, _stored("sample.in_gt_relative17").to(dtype)[:, None] / 1000)
    return candidates, mpvpe, errors, recovered.rotations.unflatten(0, (COUNT, each)), joints


def _beyond_rounding(one: Tensor, other: Tensor) -> float:
    """A millimetre's thousandth, and what 32 bits do to the same numbers of ours.

    The published solution of the pelvis enlarges rounding, and the stored numbers came about in 32 bits.
    """
    return MM + 4 * float((one.double() - other).abs().max())


def test_a_whole_published_evaluation() -> None:
    sample, exact = _published_sample(torch.float32), _published_sample(torch.float64)
    candidates, mpvpe, errors, rotations, joints = sample
    assert candidates.scores is not None
    assert_golden(candidates.scores.T, ADHMR, "sample.score", atol=1e-5)
    assert (candidates.scores.argmax(1).numpy() == golden(ADHMR)["sample.select_index"]).all()
    for place, name in ((0, "cand0"), (-1, "candlast")):
        in_picture = joints_through(crop_joints(candidates.uvd[:, place]), target("trans_inv"))
        assert_golden(in_picture, ADHMR, f"sample.{name}.joint_uvd", atol=1e-3)
        assert_golden(candidates.twists[:, place], ADHMR, f"sample.{name}.twist", atol=1e-5)
        theta, expected = quaternions_from_rotations(rotations[:, place]), _stored(f"sample.{name}.theta")
        theta = theta * (theta * expected).sum(-1, keepdim=True).sign()
        torch.testing.assert_close(theta, expected, atol=2e-4, rtol=0)
        assert_golden(people().betas + normal("sm.shape", (COUNT, 10), 0.2), ADHMR, f"sample.{name}.shape", atol=0)
    relative, unrounded = ((joints - joints[:, :, :1]) * 1000 for joints in (joints, exact[4]))
    assert_golden(relative[:, 1], ADHMR, "sample.cand1.joint_cam", atol=_beyond_rounding(relative, unrounded))
    assert_golden(mpvpe.T, ADHMR, "sample.PVE", atol=_beyond_rounding(mpvpe, exact[1]))
    for found, right, name in zip(errors, exact[2], ("mpjpe", "pa_mpjpe"), strict=True):
        assert_golden(found.transpose(0, 1), ADHMR, f"sample.{name}", atol=_beyond_rounding(found, right))
        stored = _stored(f"sample.{name}").mean(-1)
        of_one = _beyond_rounding(found.mean(-1), right.mean(-1))
        torch.testing.assert_close(found.mean(-1).T, stored, atol=of_one, rtol=0)

    rows = [aggregates(error, candidates.scores) for error in (mpvpe, errors.mpjpe.mean(-1), errors.pa_mpjpe.mean(-1))]
    assert_golden(np.array(rows), ADHMR, "sample.table_rows=mpvpe,mpjpe,pa_cols=min,select,zero,mean", atol=MM)
    selected = [rows[1].published_select, rows[2].published_select, rows[0].published_select]
    assert_golden(np.array(selected), ADHMR, "sample.returned_mpjpe_pampjpe_pve", atol=MM)


def test_without_scores_nothing_is_averaged() -> None:
    hypotheses = slice(1, -1)
    errors = [_stored(f"sample.{name}").movedim(0, 1)[:, hypotheses] for name in ("mpjpe", "pa_mpjpe", "PVE")]
    bare = published_candidates(torch.zeros(COUNT, 8, 29, 3), torch.zeros(COUNT, 8, 23, 2))
    assert bare.uvd.shape[1] == 8
    assert bare.scores is None
    rows = [aggregates(error.mean(-1) if error.ndim == 3 else error) for error in errors]
    zero_noise = np.array([row.published_zero_noise for row in rows])
    assert_golden(zero_noise, ADHMR, "process_pred.noscore_return", atol=MM)
    assert rows[0].published_hypotheses_mean == pytest.approx(float(errors[0][:, -1].mean()))
    assert np.isnan(rows[0].published_select)


def test_the_published_result_file() -> None:
    stored = golden(ADHMR)["sample.table_rows=mpvpe,mpjpe,pa_cols=min,select,zero,mean"]
    text = table("3dpw", [Aggregates(*row) for row in stored])
    assert text == json.loads((FIXTURES / "08_result_txt.json").read_text(encoding="utf-8"))


def test_alignment_of_meshes_as_the_scorer_is_trained_on() -> None:
    points, label = normal("ra.A", (2, 3, 50, 3), 0.3), normal("ra.B", (2, 1, 50, 3), 0.3)
    similar = torch.from_numpy(golden(SCORER)["batch_rigid_align.similar_in"])
    mirrored = similar * torch.tensor([-1.0, 1.0, 1.0])
    for name, moved in (("random", points), ("similar", similar), ("reflected", mirrored)):
        assert_golden(procrustes_align(moved, label), SCORER, f"batch_rigid_align.{name}", atol=MM / 1000)
    for name, moved in (("random", points), ("reflected", mirrored)):
        assert_golden(procrustes_align(moved[0, 0], label[0, 0]), SCORER, f"rigid_align.{name}", atol=MM / 1000)
    assert golden(SCORER)["reflected_batch_vs_numpy_maxdiff"] < 1e-5


@pytest.mark.parametrize("error", ["pve", "papve", "mpjpe", "pa_mpjpe"])
def test_correlations_of_score_and_error(error: str) -> None:
    stored = golden(SCORER)
    scores, errors = stored["evaluate_scorer.in.score_all"], stored[f"evaluate_scorer.in.{error}_score_gt"]
    found = published_correlations(scores, errors)
    assert_golden(found.pearson, SCORER, f"evaluate_scorer.plcc_{error}", atol=1e-6)
    assert_golden(found.spearman, SCORER, f"evaluate_scorer.srcc_{error}", atol=1e-6)
    assert found.kendall < 0
