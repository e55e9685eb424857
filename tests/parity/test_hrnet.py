"""The condition network and ScoreHypo's own ScoreNet, at the published size, against the published outputs."""

from functools import cache

import pytest
import torch
from torch import Tensor

from models.condition import PoseEstimate, item_points, sample_map
from models.hmr_scorer import HMRScorer, ScoreNet
from models.hrnet_condition import Features, HRNetCondition, HRNetFeatures, soft_argmax
from models.hyponet import Context
from models.item_graph import apply_masks
from models.policy import Policy
from schemas.profiles import paper, scorehypo_scorer
from tests.parity.rules import (
    HRNET_GAINS,
    assert_golden,
    assert_manifest,
    normal,
    published_order,
    state,
    uniform,
)

FILE = "03_hrnet.npz"
CONFIG = paper().policy
SCOREHYPO = scorehypo_scorer()


@cache
def _network() -> HRNetCondition:
    network = HRNetCondition(CONFIG.condition, CONFIG.hyponet.width, CONFIG.hyponet.local_channels).eval()
    network.load_state_dict(state("hrnet_cond", HRNET_GAINS))
    return network


@cache
def _scoring_network() -> HRNetFeatures:
    network = HRNetFeatures(SCOREHYPO.width, SCOREHYPO.local_channels).eval()
    network.load_state_dict(state("hrnet_cond_score", HRNET_GAINS))
    return network


@cache
def _images() -> Tensor:
    return normal("img", (2, 3, 256, 256))


@cache
@torch.no_grad()
def _encoded() -> tuple[Context, PoseEstimate]:
    return _network().encode(_images())


@cache
@torch.no_grad()
def _scored() -> Features:
    return _scoring_network().features(_images())


@pytest.mark.parametrize("name", ["hrnet_cond", "hrnet_cond_score"])
def test_state_dict_is_the_published_one(name: str) -> None:
    network = _network() if name == "hrnet_cond" else _scoring_network()
    assert_manifest(network.state_dict(), name)
    assert [key for key, _ in network.named_parameters()] == published_order(name)


def test_context_and_estimate() -> None:
    context, estimate = _encoded()
    assert_golden(context.image, FILE, "cond.global")
    assert_golden(context.local, FILE, "cond.local")
    assert_golden(estimate.betas, FILE, "cond.pred_shape")
    assert_golden(estimate.uvd[..., :2], FILE, "cond.pred_2d")
    for absent in (context.centre_joints, context.centre_twists, estimate.uvd[..., 2], estimate.twists):
        assert not absent.any()


def test_scoring_variant() -> None:
    seen = _scored()
    assert_golden(seen.image, FILE, "score.global")
    assert_golden(seen.local_map, FILE, "score.local_map")
    assert_golden(seen.uv, FILE, "score.pred_2d")


def test_soft_argmax() -> None:
    assert_golden(soft_argmax(normal("hm", (1, 29, 64, 64), 0.3))[1], FILE, "integral.preds")


@torch.no_grad()
def test_policy_of_the_profile_encodes_crops_and_samples() -> None:
    policy = Policy(CONFIG).eval()
    policy.condition.load_state_dict(_network().state_dict())
    # What the encoder does to crops, undone: (pixel - mean) / spread, with the constants of B, G, R for R, G, B.
    mean, spread = torch.tensor([[0.406, 0.457, 0.480], [0.225, 0.224, 0.229]])[:, :, None, None]
    context, estimate = policy.encode((_images() * spread + mean) * 2 - 1)
    assert_golden(context.image, FILE, "cond.global")
    assert_golden(context.local, FILE, "cond.local")
    assert_golden(estimate.betas, FILE, "cond.pred_shape")
    uvd, twists = policy.sample(context, torch.zeros(2, 1, 133))
    assert uvd.shape == (2, 1, 29, 3)
    assert twists.shape == (2, 1, 23, 2)
    assert uvd.isfinite().all()


@cache
def _score_net() -> ScoreNet:
    network = ScoreNet(SCOREHYPO).eval()
    network.load_state_dict(state("scorehypo_scorenet"))
    apply_masks(network)
    return network


def test_score_net_state_dict_is_the_published_one() -> None:
    assert_manifest(_score_net().state_dict(), "scorehypo_scorenet")
    assert [name for name, _ in _score_net().named_parameters()] == published_order("scorehypo_scorenet")


@torch.no_grad()
def _score(image: Tensor, local_map: Tensor, hypotheses: int) -> tuple[Tensor, Tensor]:
    """Raw scores (2*M,) of the first `hypotheses` (M) times two inputs, and the local features (2, M, 52*256)."""
    rows = slice(0, 2 * hypotheses)
    uvd = torch.cat([uniform("sn.uv", (6, 29, 2), -0.9, 0.9), uniform("sn.d", (6, 29, 1), -0.5, 0.5)], dim=-1)[rows]
    angles = uniform("sn.ang", (6, 23), -3, 3)[rows]
    points = item_points(uvd[..., :2], SCOREHYPO.condition.swapped_twist_points).reshape(2, -1, 2)
    local = sample_map(local_map, points, corners=True)
    twists = torch.stack([angles.cos(), angles.sin()], dim=-1)
    (scores,) = _score_net()(uvd.flatten(1), twists.flatten(1), local.reshape(2 * hypotheses, 52, -1), image).unbind(1)
    return scores, local.reshape(2, hypotheses, -1)


def test_score_net_on_the_scoring_network() -> None:
    assert_golden(_score(_scored().image, _scored().local_map, 3)[0], FILE, "scorenet.score")


@pytest.mark.parametrize(("hypotheses", "name"), [(3, "score_isolated"), (1, "score_single")])
def test_score_net_alone(hypotheses: int, name: str) -> None:
    image, local_map = normal("sn.global", (2, 512, 8, 8)), normal("sn.local", (2, 256, 64, 64))
    scores, local = _score(image, local_map, hypotheses)
    assert_golden(scores, FILE, f"scorenet.{name}")
    if hypotheses == 3:
        assert_golden(local, FILE, "scorenet.local_feature")


@torch.no_grad()
def test_scorer_of_crops_is_the_published_one() -> None:
    """From crops as everywhere in this project, through one module, to the scores of the published pair of networks."""
    scorer = HMRScorer(SCOREHYPO).eval()
    scorer.encoder.load_state_dict(_scoring_network().state_dict())
    scorer.score_net.load_state_dict(_score_net().state_dict())
    mean, spread = torch.tensor([[0.406, 0.457, 0.480], [0.225, 0.224, 0.229]])[:, :, None, None]
    pyramid, estimate = scorer.encode((_images() * spread + mean) * 2 - 1)
    assert estimate is None
    uvd = torch.cat([uniform("sn.uv", (6, 29, 2), -0.9, 0.9), uniform("sn.d", (6, 29, 1), -0.5, 0.5)], dim=-1)
    angles = uniform("sn.ang", (6, 23), -3, 3)
    twists = torch.stack([angles.cos(), angles.sin()], dim=-1)
    raw = scorer.score(pyramid, estimate, uvd.unflatten(0, (2, 3)), twists.unflatten(0, (2, 3)))
    assert_golden(raw.flatten(), FILE, "scorenet.score")
