"""Losses as published, on the denoiser's, the encoder's and the scorer's outputs."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from models.metrics import mpvpe_mm, pa_mpvpe_mm
from models.objectives import (
    DenoisingError,
    denoising_error,
    error_to_score,
    rank_loss,
    scorer_loss,
    squared_error,
)
from models.preferences.dpo import dpo
from models.preferences.kto import kto
from models.statistics import published_correlations
from schemas.config.training import AugmentConfig
from schemas.profiles import paper
from tasks.train.augment import Augmentation
from tasks.train.scorer import DrawnHypotheses, ScorerRecipe
from tests.parity.rules import assert_golden, golden, normal, rng, uniform
from tests.parity.smpl_loss import SmplLoss, smpl_loss

POLICY, SCORER = "07_losses_adhmr.npz", "07_losses_scorer.npz"
LOSS, GRADIENT = 1e-5, 1e-3
BETA = 100.0


def near(actual: Tensor, file: str, name: str, rtol: float = LOSS) -> None:
    assert_golden(actual, file, name, atol=1e-7, rtol=rtol)


def label(name: str) -> Tensor:
    return torch.from_numpy(golden(POLICY)[f"in.lab.{name}"])


def mask(rows: int) -> Tensor:
    """(rows, 133) what the labels say of joints and twists; `rows` is a multiple of the five labels."""
    one = torch.cat([label("joints_vis_29").flatten(1), label("target_twist_weight").flatten(1)], dim=1)
    return one.repeat(rows // 5, 1)


def noise_error(joints: Tensor, twists: Tensor) -> DenoisingError:
    """Of noise estimates (N, 87) and (N, 46), N a multiple of five."""
    rows = len(joints)
    target = torch.cat([normal("ls.gnj", (5, 87)), normal("ls.gnt", (5, 46))], dim=1).repeat(rows // 5, 1)
    return denoising_error(torch.cat([joints, twists], dim=1), target, mask(rows))


def loss_on_labels(error: DenoisingError, counted: Tensor | None = None) -> SmplLoss:
    uv = squared_error(
        normal("ls.j2", (5, 29, 2), 0.4), normal("ls.gj2", (5, 29, 2), 0.4), label("joints_vis_29")[..., :2]
    )
    betas = squared_error(normal("ls.ps", (5, 10)), label("target_beta"), label("target_smpl_weight"))
    return smpl_loss(uv, betas, error, counted=counted)


def assert_loss(loss: SmplLoss, name: str, parts: bool = True) -> None:
    near(loss.total, POLICY, f"{name}.total")
    near(loss.uv, POLICY, f"{name}.loss_2d")
    # where it is nothing, the reference's single precision leaves some 1e-5 of it
    assert_golden(loss.betas, POLICY, f"{name}.loss_beta", atol=LOSS * loss.total.item(), rtol=LOSS)
    if parts:
        near(loss.joints, POLICY, f"{name}.loss_joint")
        near(loss.twists, POLICY, f"{name}.loss_twist")


def test_loss_on_labels() -> None:
    error = noise_error(normal("ls.nj", (5, 87)), normal("ls.nt", (5, 46)))
    assert_loss(loss_on_labels(error), "smpl_loss")


def pair_errors(of: str) -> tuple[DenoisingError, DenoisingError]:
    """Winners' and losers' errors."""
    joints, twists = normal("ls.wl_nj", (10, 87)), normal("ls.wl_nt", (10, 46))
    if of == "ref":
        joints, twists = joints + normal("ls.ref_nj", (10, 87), 0.05), twists + normal("ls.ref_nt", (10, 46), 0.05)
    error = noise_error(joints, twists)
    return DenoisingError(error.joints[:5], error.twists[:5]), DenoisingError(error.joints[5:], error.twists[5:])


@pytest.mark.parametrize("of", ["policy", "ref"])
def test_errors_of_pairs(of: str) -> None:
    winner, loser = pair_errors(of)
    for name, won, lost in (("joint", winner.joints, loser.joints), ("twist", winner.twists, loser.twists)):
        near(won, POLICY, f"dpo.{of}.losses_{name}_w")
        near(lost, POLICY, f"dpo.{of}.losses_{name}_l")
        assert_golden(won - lost, POLICY, f"dpo.{of}.{name}_diff", atol=1e-5)
    assert_loss(loss_on_labels(winner), f"dpo.{of}")


def only(error: DenoisingError, part: str) -> DenoisingError:
    """The same with the other part's error at zero, where DPO is log 2; in double precision, to take that off."""
    joints, twists = (value.double() for value in error.parts)
    return DenoisingError(joints, 0 * twists) if part == "joint" else DenoisingError(0 * joints, twists)


def test_dpo() -> None:
    errors = [*pair_errors("policy"), *pair_errors("ref")]
    near(dpo(*errors, beta=BETA).loss.mean(), POLICY, "dpo.expr.beta100.total")
    for part in ("joint", "twist"):
        alone = dpo(*(only(error, part) for error in errors), beta=BETA).loss.mean() - math.log(2)
        near(alone, POLICY, f"dpo.expr.beta100.{part}")


def test_kto() -> None:
    joints, twists = normal("ls.nj", (5, 87)), normal("ls.nt", (5, 46))
    policy = noise_error(joints, twists)
    reference = noise_error(joints + normal("ls.kref_nj", (5, 87), 0.05), twists + normal("ls.kref_nt", (5, 46), 0.05))
    winners = label("label_sgn")
    for of, error in (("policy", policy), ("ref", reference)):
        near(error.joints, POLICY, f"kto.{of}.loss_joint")
        near(error.twists, POLICY, f"kto.{of}.loss_twist")
        assert_loss(loss_on_labels(error, counted=winners), f"kto.{of}", parts=False)
    losses = kto(policy, reference, winners, beta=BETA).mean(0)
    near(losses[0], POLICY, "kto.expr.beta100.joint")
    near(losses[1], POLICY, "kto.expr.beta100.twist")


def ranked() -> tuple[Tensor, Tensor, Tensor]:
    """Scores, errors, and which images count."""
    return normal("ls.score", (4, 7)), normal("ls.metric", (4, 7), 20, 80), torch.tensor([1.0, 0.0, 1.0, 1.0])


def test_rank_loss() -> None:
    scores, errors, counted = ranked()
    scores.requires_grad_()
    loss = (rank_loss(scores, errors, 5.0, published=True) * counted).mean()
    near(loss, POLICY, "rankloss.sigma5")
    near(loss, SCORER, "rankloss.sigma5")
    (gradient,) = torch.autograd.grad(loss, scores)
    assert_golden(gradient, POLICY, "rankloss.grad_sigma5", atol=GRADIENT * float(gradient.abs().max()))
    near(rank_loss(scores, errors, 1.0, published=True).mean(), POLICY, "rankloss.sigma1_ones")
    errors[0, 1] = errors[0, 0]
    near((rank_loss(scores, errors, 5.0, published=True) * counted).mean(), SCORER, "rankloss.ties")


def test_the_engines_rank_loss_is_the_published_one_without_its_rounding() -> None:
    scores, errors, _ = ranked()
    torch.testing.assert_close(
        rank_loss(scores, errors, 5.0), rank_loss(scores, errors, 5.0, published=True), rtol=1e-3, atol=1e-3
    )


def test_correlations_within_images() -> None:
    scores, errors, _ = ranked()
    found = [published_correlations(*pair) for pair in zip(scores.numpy(), errors.numpy(), strict=True)]
    assert 1 + np.mean([one.pearson for one in found]) == pytest.approx(float(golden(POLICY)["p_relate"]), rel=LOSS)
    # A covariance over 7 was divided by spreads over 6.
    rank_correlation = np.mean([one.spearman for one in found]) * 6 / 7
    assert rank_correlation == pytest.approx(float(golden(POLICY)["spearman"]), abs=1e-6)


def test_losses_of_a_score_over_meshes() -> None:
    """ScoreHypo's: two images with three hypotheses each."""
    raw = normal("sl.score", (6,)).view(2, 3)
    meshes = normal("sl.pv", (6, 300, 3), 0.3).view(2, 3, 300, 3)
    origin = torch.zeros(2, 1, 3)
    errors = mpvpe_mm(meshes, normal("sl.mesh", (2, 300, 3), 0.3)[:, None], origin, origin)
    near(rank_loss(raw, errors, 5.0, published=True).mean(), POLICY, "score_loss.pve")

    joints = normal("sl.x17", (6, 51), 0.2).view(2, 3, 17, 3) * 2  # in units of two metres
    truth = normal("sl.jc", (2, 17, 3), 400)[:, None] / 1000
    errors = mpvpe_mm(joints, truth, joints[..., 0, :], truth[..., 0, :])
    near(rank_loss(raw, errors, 5.0, published=True).mean(), POLICY, "score_loss.mpjpe")

    visible = (uniform("sl.m2", (2, 29, 2), 0, 1) > 0.3).float()
    uv = squared_error(normal("sl.p2", (2, 29, 2), 0.3), normal("sl.g2", (2, 29, 2), 0.3), visible)
    near(uv.mean(), POLICY, "score_loss.2d")


@pytest.mark.parametrize(("name", "worst_mm"), [("default", 300.0), ("max150", 150.0)])
def test_score_of_an_error(name: str, worst_mm: float) -> None:
    errors = torch.tensor([[0.0, 10.0, 50.0, 155.0, 300.0, 400.0]])
    near(error_to_score(errors, 10.0, worst_mm), SCORER, f"error_2_score.{name}")


VERTICES = 10475
NAMES = {"mpvpe": "mpvpe_all", "pa_mpvpe": "pa_mpvpe_all", "mpjpe": "mpjpe_body", "pa_mpjpe": "pa_mpjpe_body"}
LOGGED = {"mpvpe": "mppve", "pa_mpvpe": "pa_mpvpe", "mpjpe": "mpjpe_body", "pa_mpjpe": "pa_mpjpe_body"}


def regressor(name: str, joints: int) -> Tensor:
    """(joints, 10475) a joint regressor in which every vertex has one joint."""
    weights, rows = np.zeros((joints, VERTICES)), np.arange(VERTICES)
    weights[rows % joints, rows] = np.abs(rng(name).standard_normal(VERTICES)) + 0.1
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32))


@pytest.fixture(scope="module")
def mesh_errors() -> Mapping[str, Tensor]:
    """(2, 5) of five hypotheses in two images, in mm."""
    stored = golden(SCORER)
    truth = normal("slx.gt", (2, VERTICES, 3)) * torch.tensor([0.25, 0.45, 0.15]) + torch.tensor([0.1, 0.2, 3.0])
    truth = truth[:, None]
    turned = truth @ torch.from_numpy(stored["score_loss.in_rotmats"]).mT
    spread = torch.from_numpy(stored["score_loss.in_sigma"]).float()[:, None, None]
    meshes = turned * (1 + 0.05 * normal("slx.scale", (2, 5)))[..., None, None]
    meshes = meshes + normal("slx.t", (2, 5, 1, 3), 0.1) + normal("slx.n", (2, 5, VERTICES, 3)) * spread
    to_roots, to_joints = regressor("smplx:J_regressor", 55)[:1], regressor("smplx:j14", 14)
    root, true_root = (to_roots @ meshes)[..., 0, :], (to_roots @ truth)[..., 0, :]
    joints, true_joints = to_joints @ meshes, to_joints @ truth
    return {
        "mpvpe": mpvpe_mm(meshes, truth, root, true_root),
        "pa_mpvpe": pa_mpvpe_mm(meshes, truth),
        "mpjpe": mpvpe_mm(joints, true_joints, root, true_root),
        "pa_mpjpe": pa_mpvpe_mm(joints, true_joints),
    }


def test_errors_that_the_scorer_learns_from(mesh_errors: Mapping[str, Tensor]) -> None:
    for name, errors in mesh_errors.items():
        assert_golden(errors, SCORER, f"score_loss.eval.{NAMES[name]}", atol=1e-3)


class GivenScores:
    """In a scorer's place: one that says what it is given."""

    def __init__(self, raw: Tensor) -> None:
        self.raw, self.config = raw, paper().scorer

    def scores(self, *_: object) -> Tensor:
        return self.raw


def test_the_products_own_scorer_loss(mesh_errors: Mapping[str, Tensor]) -> None:
    """ScorerRecipe under the profile paper gives the published loss and its gradient."""
    recipe, raw = ScorerRecipe.__new__(ScorerRecipe), normal("slx.score", (10,), 0.4).requires_grad_()
    recipe.config = config = paper().train_scorer
    recipe.model = GivenScores(raw.view(2, 5, 1))  # type: ignore[assignment]
    errors = torch.stack([mesh_errors[name] for name in config.errors], -1)
    nothing = torch.zeros(2, 5, 29, 3), torch.zeros(2, 5, 23, 2), torch.zeros(2, 5, 10)
    unchanged = Augmentation.draw(AugmentConfig(mirror=0.0), np.random.default_rng(0), 2)
    ranking, score_error = recipe._ranked([], None, DrawnHypotheses(*nothing, errors, None), unchanged)  # type: ignore[arg-type]
    loss = config.rank_weight * ranking + config.score_weight * score_error
    expected = sum(float(golden(SCORER)[f"score_loss.p_{logged}"]) for logged in LOGGED.values())
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, raw)
    assert_golden(gradient, SCORER, "score_loss.grad_rank_only", atol=GRADIENT * float(gradient.abs().max()))


def test_scorer_loss(mesh_errors: Mapping[str, Tensor]) -> None:
    raw = normal("slx.score", (10,), 0.4).requires_grad_()
    loss = scorer_loss(raw.view(2, 5), mesh_errors)
    for name, logged in LOGGED.items():
        near(loss.rank[name], SCORER, f"score_loss.p_{logged}")
        near(100 * loss.score[name], SCORER, f"score_loss.mse_{logged}")
    (gradient,) = torch.autograd.grad(torch.stack([*loss.rank.values()]).sum(), raw)
    assert_golden(gradient, SCORER, "score_loss.grad_rank_only", atol=GRADIENT * float(gradient.abs().max()))
