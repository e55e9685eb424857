"""HypoNet, its sampler, LoRA and the moving average, at the published size, against the published outputs."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.diffusion import JOINT_SIZE, Denoised, Diffusion
from models.hyponet import Context, HypoNet
from models.item_graph import apply_masks
from models.lora import add_low_rank, merged_state
from schemas.profiles import paper
from tests.parity.published import PublishedAverage
from tests.parity.rules import assert_golden, assert_manifest, golden, manifest, normal, published_order, state

FILE = "02_hyponet.npz"
CONFIG = paper().policy


def _untrained() -> HypoNet:
    return HypoNet(CONFIG.hyponet, residual=CONFIG.diffusion.parameterisation == "eps").eval()


@cache
def _network() -> HypoNet:
    network = _untrained()
    network.load_state_dict(state("hyponet"))
    apply_masks(network)
    return network


def _context(image: Tensor, local: Tensor) -> Context:
    return Context(image, local, torch.zeros(len(image), 87), torch.zeros(len(image), 46))


@cache
def _three() -> Context:
    return _context(normal("hypo.global", (3, 512, 8, 8)), normal("hypo.local", (3, 52, 256)))


@cache
def _two() -> Context:
    return _context(normal("hypo.global2", (2, 512, 8, 8)), normal("hypo.local2", (2, 52, 256)))


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    return normal("hypo.xj", (3, 87)), normal("hypo.xt", (3, 46)), torch.tensor([17, 500, 999])


def _assert_pair(found: tuple[Tensor, Tensor], name: str) -> None:
    for part, kind in zip(found, ("xj", "xt"), strict=True):
        assert_golden(part, FILE, f"{name}.{kind}")


def test_state_dict_is_the_published_one() -> None:
    assert_manifest(_network().state_dict(), "hyponet")
    assert [name for name, _ in _network().named_parameters()] == published_order("hyponet")


@torch.no_grad()
@pytest.mark.parametrize(("name", "scale"), [("single", 1.0), ("single_x10", 10.0)])
def test_one_hypothesis_an_image(name: str, scale: float) -> None:
    joints, twists, time = _inputs()
    _assert_pair(_network()(joints * scale, twists * scale, time, _three()), name)


@torch.no_grad()
def test_many_hypotheses_an_image() -> None:
    time = torch.full((10,), 333)
    _assert_pair(_network()(normal("hypo.xj2", (10, 87)), normal("hypo.xt2", (10, 46)), time, _two()), "multi")


def test_masks_leave_the_published_weights() -> None:
    network = _network()
    layers = network.linear_start_j, network.linear_start_t, network.linear_final_j, network.linear_final_t
    assert [int(layer.weight.count_nonzero()) for layer in layers] == golden(FILE)["masked_weight_nonzero"].tolist()


class _Recorded(Diffusion):
    """Keeps what the sampler passes through."""

    def __init__(self) -> None:
        super().__init__(CONFIG.diffusion)
        self.noisy: list[Tensor] = []
        self.clean: list[Tensor] = []

    def denoise(self, network: HypoNet, noisy: Tensor, time: Tensor, context: Context, seen: Any = None) -> Denoised:
        denoised = super().denoise(network, noisy, time, context, seen)
        self.noisy.append(noisy)
        self.clean.append(denoised.pose)
        return denoised


@cache
def _sampled() -> tuple[_Recorded, Tensor]:
    noise = torch.cat([normal("ddim.nj", (2, 4, 87)), normal("ddim.nt", (2, 4, 46))], dim=-1)
    noise[:, 0] = 0
    recorded = _Recorded()
    return recorded, recorded.sample(_network(), noise.flatten(0, 1), _two())


def test_sampler_visits_the_published_steps() -> None:
    assert list(CONFIG.diffusion.sampler_steps) == golden(FILE)["ddim.seq"][::-1].tolist()
    kept = Diffusion(CONFIG.diffusion).alphas_cumprod
    at_steps = torch.cat([torch.ones(1), kept[torch.from_numpy(golden(FILE)["ddim.seq"])]])
    assert_golden(at_steps, FILE, "ddim.alpha_at_seq", atol=0, rtol=1e-6)
    # This sample alone was taken in equal strides, from the first step to the last.
    assert_golden(kept[::37], FILE, "alphas_cumprod_f32.sample", atol=0, rtol=1e-6)


@pytest.mark.parametrize("visit", range(5))
def test_sampler_takes_the_published_way(visit: int) -> None:
    recorded, final = _sampled()
    _assert_pose([*recorded.noisy, final][visit], "xs", visit)
    if visit < 4:
        _assert_pose(recorded.clean[visit], "x0", visit)


def _assert_pose(pose: Tensor, name: str, visit: int) -> None:
    for part, kind in ((pose[:, :JOINT_SIZE], "j"), (pose[:, JOINT_SIZE:], "t")):
        stored = f"ddim.{name}_{kind}.{visit}"
        assert_golden(part, FILE, stored, atol=1e-4 * float(np.abs(golden(FILE)[stored]).max()))


def test_final_poses() -> None:
    recorded, final = _sampled()
    uvd, twists = recorded.unscale(final)
    size = CONFIG.condition.image_size
    pixels = torch.cat([(uvd[..., :2] * 0.5 + 0.5) * size, uvd[..., 2:] * 1000.0], dim=-1)  # crop pixels, millimetres
    for found, name in (
        (pixels, "pred_joints_uvd"),
        (twists, "pred_twist"),
        (uvd.flatten(1), "score_input_joint"),
    ):
        stored = f"ddim.{name}"
        assert_golden(found, FILE, stored, atol=1e-4 * float(np.abs(golden(FILE)[stored]).max()))


@cache
def _low_rank() -> HypoNet:
    network = add_low_rank(_untrained())
    network.load_state_dict(state("hyponet_lora"))
    apply_masks(network)
    return network


@torch.no_grad()
def test_low_rank_additions() -> None:
    assert_manifest(_low_rank().state_dict(), "hyponet_lora")
    _assert_pair(_low_rank()(*_inputs(), _three()), "lora")


@torch.no_grad()
def test_low_rank_additions_can_be_merged_into_a_plain_network() -> None:
    plain = _untrained()
    plain.load_state_dict(merged_state(_low_rank()))
    assert list(plain.state_dict()) == list(manifest("hyponet"))
    _assert_pair(plain(*_inputs(), _three()), "lora")


def test_moving_average() -> None:
    module = nn.Module()
    for place, shape in enumerate([(3, 4), (5,), (2, 2)]):
        frozen = place == 1
        module.register_parameter(f"p{place}", nn.Parameter(normal(f"ema.p{place}", shape), requires_grad=not frozen))
    average = PublishedAverage(module)
    for step in range(3):
        with torch.no_grad():
            for place, parameter in enumerate(module.parameters()):
                parameter.add_(normal(f"ema.d{step}.{place}", parameter.shape))
        average.update(module)
        for place in range(2):
            assert_golden(average.shadow[place], FILE, f"ema.step{step}.shadow{place}", atol=1e-6)
    assert len(average.shadow) == golden(FILE)["ema.n_shadow"]
    assert average.updates == golden(FILE)["ema.num_updates"]
