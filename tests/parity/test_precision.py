"""The published networks on a GPU, and in half precision: what is lost, against the golden numbers and 32 bits.

Half precision also runs on the CPU, slowly, so that its bound is checked everywhere; the GPU's tests need one.
"""

import os
from collections.abc import Iterator
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
from tests.parity.on_device import CASES, HALF, compare
from tests.parity.rules import normal, state, uniform

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is at hand"))
SCORES_HALF = 5e-2
"""Difference of scores in bfloat16 over what sets the scores of a person's hypotheses apart."""


@pytest.fixture(autouse=True)
def full_multiplications() -> None:
    """Without the 19-bit products that convolutions may use on a GPU."""
    torch.backends.cudnn.allow_tf32 = False


def _scored(device: str, scorer: HMRScorer) -> Tensor:
    """(2, 5) raw scores."""
    uvd = torch.cat([uniform("sc.uv", (2, 5, 29, 2), -0.95, 0.95), uniform("sc.d", (2, 5, 29, 1), -0.6, 0.6)], dim=-1)
    scorer.to(device)
    with torch.no_grad():
        pyramid = scorer.encode_upright(uniform("sc.img", (2, 3, 512, 384), 0, 1).to(device))
        return scorer.score_upright(pyramid, uvd.to(device)).cpu()


def _scorer() -> HMRScorer:
    scorer = HMRScorer(paper().scorer)
    scorer.encoder.load_state_dict(state("vit_b_backbone"))
    scorer.score_net.load_state_dict(state("hmr_scorenet"))
    return scorer.eval()


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("encoder", [False, True], ids=["decoder", "both"])
def test_scores_in_half_precision(device: str, encoder: bool) -> None:
    """As the engine computes them: layers of 16 bits, and what needs more of 32."""
    full, half = _scored("cpu", _scorer()), _scored(device, _scorer().halved(decoder=True, encoder=encoder))
    off = (half - full).norm() / (full - full.mean(1, keepdim=True)).norm()
    print(f"HMR-Scorer in bfloat16 on {device}: {off:.1e} of what sets the scores of a person apart")
    assert 0 < off < SCORES_HALF
    assert torch.equal(half.argsort(dim=1), full.argsort(dim=1))


@torch.no_grad()
@pytest.mark.parametrize("device", ["cpu", GPU])
def test_noise_in_half_precision(device: str) -> None:
    """As the engine's sampler computes it."""
    network = HypoNet(paper().policy.hyponet, residual=True).eval()
    network.load_state_dict(state("hyponet"))
    apply_masks(network)
    network = network.to(device)
    nothing = torch.zeros(2, 87, device=device), torch.zeros(2, 46, device=device)
    image = normal("hypo.global2", (2, 512, 8, 8)).to(device), normal("hypo.local2", (2, 52, 256)).to(device)
    time = torch.full((10,), 333, device=device)
    noisy = [normal(name, (10, size)).to(device) for name, size in (("hypo.xj2", 87), ("hypo.xt2", 46))]
    full, half = (torch.cat(one(*noisy, time, Context(*image, *nothing)), -1) for one in (network, network.halved()))
    assert 1e-5 < float((half - full).norm() / full.norm()) < HALF


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.of_networks])
@pytest.mark.parametrize("device", ["cpu", GPU])
def test_golden_outputs_in_half_precision(device: str, case: str) -> None:
    found = list(compare(case, device, half=True))
    for one in found:
        print(f"{one.case} in bfloat16 on {device}: {one.relative:.1e} of it")  # shown by pytest -s
    assert [one for one in found if not one.holds] == []
    assert any(one.relative > 1e-5 for one in found)  # else it was not half precision; one number may be met by chance


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("device", [GPU])
def test_golden_outputs_in_32_bits(device: str, case: str) -> None:
    assert [one for one in compare(case, device, half=False) if not one.holds] == []


@pytest.mark.parametrize("case", ["denoiser", "bodies", "errors"])
def test_what_is_off_does_not_hold(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU other tests hold the same outputs closer; these two hold the comparison."""
    assert all(one.holds and one.relative < 1e-4 for one in compare(case, "cpu", half=False))
    given = CASES[case]

    def outputs(device: torch.device, half: bool) -> Iterator[tuple[str, str, Tensor]]:
        for file, name, output in given.outputs(device, half):
            yield file, name, output * 1.05

    monkeypatch.setitem(CASES, case, given._replace(outputs=outputs))
    assert not any(one.holds for one in compare(case, "cpu", half=False))


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
