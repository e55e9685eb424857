"""The published networks on a GPU, and in half precision: what is lost, against the golden numbers and 32 bits.

Half precision also runs on the CPU, slowly, so that its bound is checked everywhere; the GPU's tests need one.
"""

import os
from typing import Literal

import pyarrow.compute as pc
import pytest
import torch
from torch import Tensor

from infra import rounds
from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from models.hmr_scorer import HMRScorer
from models.hrnet_condition import HRNetCondition
from models.hyponet import Context, HypoNet
from models.item_graph import apply_masks
from models.recovery import recover_body
from schemas.config.stages import GenerateConfig
from schemas.profiles import paper, tiny
from schemas.splits import SOURCE_TEST
from tasks.generate import HypothesisSampler
from tasks.rows.instances import instance_ids, load_instances
from tasks.rows.models import load_policy
from tests.conftest import PARITY_STORE
from tests.parity.rules import HRNET_GAINS, assert_golden, normal, state, uniform

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is at hand"))
FORWARD = 1e-3
"""Absolute difference in 32 bits."""
HALF = 2e-2
"""Relative difference (of lengths of vectors) in bfloat16."""
SCORES_HALF = 5e-2
"""Difference of scores in bfloat16 over what sets the scores of a person's hypotheses apart."""


@pytest.fixture(autouse=True)
def full_multiplications() -> None:
    """Without the 19-bit products that convolutions may use on a GPU."""
    torch.backends.cudnn.allow_tf32 = False


def _predicted(device: str, half: bool) -> Tensor:
    """(10, 133): the noise that HypoNet predicts."""
    network = HypoNet(paper().policy.hyponet, residual=False)
    network.load_state_dict(state("hyponet"))
    apply_masks(network)
    network.eval().to(device)
    context = Context(
        normal("hypo.global2", (2, 512, 8, 8)).to(device),
        normal("hypo.local2", (2, 52, 256)).to(device),
        torch.zeros(2, 87, device=device),
        torch.zeros(2, 46, device=device),
    )
    time = torch.full((10,), 333, device=device)
    joints, twists = (normal(name, (10, size)).to(device) for name, size in (("hypo.xj2", 87), ("hypo.xt2", 46)))
    with torch.no_grad():
        return torch.cat((network.halved() if half else network)(joints, twists, time, context), -1).cpu()


def _scorer() -> HMRScorer:
    scorer = HMRScorer(paper().scorer)
    scorer.encoder.load_state_dict(state("vit_b_backbone"))
    scorer.score_net.load_state_dict(state("hmr_scorenet"))
    return scorer.eval()


def _scored(device: str, scorer: HMRScorer) -> Tensor:
    """(2, 5) raw scores."""
    uvd = torch.cat([uniform("sc.uv", (2, 5, 29, 2), -0.95, 0.95), uniform("sc.d", (2, 5, 29, 1), -0.6, 0.6)], dim=-1)
    scorer.to(device)
    with torch.no_grad():
        pyramid = scorer.encode_upright(uniform("sc.img", (2, 3, 512, 384), 0, 1).to(device))
        return scorer.score_upright(pyramid, uvd.to(device)).cpu()


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("encoder", [False, True], ids=["decoder", "both"])
def test_scores_in_half_precision(device: str, encoder: bool) -> None:
    full, half = _scored("cpu", _scorer()), _scored(device, _scorer().halved(decoder=True, encoder=encoder))
    off = (half - full).norm() / (full - full.mean(1, keepdim=True)).norm()
    print(f"HMR-Scorer in bfloat16 on {device}: {off:.1e} of what sets the scores of a person apart")
    assert 0 < off < SCORES_HALF
    assert torch.equal(half.argsort(dim=1), full.argsort(dim=1))


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_noise_prediction_in_half_precision(device: str) -> None:
    full = _predicted("cpu", half=False)
    off = (_predicted(device, half=True) - full).norm() / full.norm()
    print(f"HypoNet in bfloat16 on {device}: {off:.1e} of the prediction")  # shown by pytest -s
    assert 0 < off < HALF


@pytest.mark.parametrize("device", [GPU])
def test_forward_passes_in_32_bits(device: str) -> None:
    found = _predicted(device, half=False)
    assert_golden(found[:, :87], "02_hyponet.npz", "multi.xj", atol=FORWARD)
    assert_golden(found[:, 87:], "02_hyponet.npz", "multi.xt", atol=FORWARD)
    assert_golden(_scored(device, _scorer()), "06_scorer.npz", "multi.score_raw", atol=FORWARD)
    condition = HRNetCondition(paper().policy.condition, 512, 256).eval()
    condition.load_state_dict(state("hrnet_cond", HRNET_GAINS))
    with torch.no_grad():
        context, estimate = condition.to(device).encode(normal("img", (2, 3, 256, 256)).to(device))
    assert_golden(context.image, "03_hrnet.npz", "cond.global", atol=FORWARD)
    assert_golden(context.local, "03_hrnet.npz", "cond.local", atol=FORWARD)
    assert_golden(estimate.betas, "03_hrnet.npz", "cond.pred_shape", atol=FORWARD)


@pytest.mark.skipif(PARITY_STORE not in os.environ, reason="ADHMR_STORE names no store with a trained tiny policy")
@pytest.mark.parametrize("device", ["cpu", GPU])
def test_hypotheses_of_a_trained_policy_in_half_precision(device: str) -> None:
    """Mean distance of the vertices, over 32 people and 4 hypotheses each, between the two precisions."""
    store = Store.open(os.environ[PARITY_STORE], create=False)
    digest = rounds.state(store, tiny().campaign).policy
    assert digest is not None
    body = load_body("tiny")
    keys = read(store, "stages", where=pc.field("stage") == "ingest", columns=["stage_key"]).column(0).to_pylist()
    people = load_instances(store, keys, instance_ids(store, keys, [SOURCE_TEST])[:32])
    policy = load_policy(store, digest)

    def meshes(precision: Literal["float32", "bfloat16"]) -> Tensor:
        make = HypothesisSampler(policy, GenerateConfig(hypotheses=4, precision=precision), body, device=device)
        drawn = make(people.ids, people.crops, people.crop_intrinsics, people.root_depth)
        uvd, twists, betas, depth = (
            torch.from_numpy(part).flatten(0, 1) for part in (drawn.uvd, drawn.twists, drawn.betas, drawn.root_depth)
        )
        camera = torch.from_numpy(people.crop_intrinsics).repeat_interleave(4, 0)
        found = recover_body(body, uvd, twists, betas, camera, people.crop_size, depth)
        return found.vertices - found.joints[:, :1]

    off_mm = 1000 * float((meshes("bfloat16") - meshes("float32")).norm(dim=-1).mean())
    print(f"hypotheses in bfloat16 on {device}: {off_mm:.2f} mm from those in 32 bits")
    assert 0 < off_mm < 1
