"""The rules that make the weights, and the tables that networks are built from: neighbours, masks, position codes."""

import numpy as np
import pytest
import torch

from models.attention import image_code, sinusoidal_code
from models.hyponet import HypoNet
from models.item_graph import neighbours, within
from models.skeleton import JOINTS, PARENTS, TWISTS
from schemas.profiles import paper
from tests.parity.rules import HRNET_GAINS, assert_golden, golden, normal, state, weight

FILE = "01_weights_probe.npz"
SUMMED = {
    "hyponet": (),
    "hyponet_lora": (),
    "hrnet_cond": HRNET_GAINS,
    "hrnet_cond_score": HRNET_GAINS,
    "scorehypo_scorenet": (),
}
TIMES = (0, 1, 333, 666, 999)
"""Timesteps whose codes are stored."""


@pytest.mark.parametrize("name", SUMMED)
def test_weights_come_out_as_recorded(name: str) -> None:
    floats = [tensor.double() for tensor in state(name, SUMMED[name]).values() if tensor.is_floating_point()]
    found = [
        sum(float(tensor.sum()) for tensor in floats),
        sum(float(tensor.square().sum()) for tensor in floats),
        sum(tensor.numel() for tensor in floats),
    ]
    # Sums of some 10^7 numbers of either sign: their order shows in the last digits.
    np.testing.assert_allclose(found, golden(FILE)[f"wsum.{name}"], rtol=1e-9, atol=1e-6)


def test_single_values() -> None:
    for key, found in (
        ("key=linear_start_j.weight[0,:8]", weight("linear_start_j.weight", (7424, 87), True)[0, :8]),
        ("key=blocks.0.norm1.weight[:8]", weight("blocks.0.norm1.weight", (512,), True)[:8]),
        ("key=bn1.running_var[:8]", weight("bn1.running_var", (64,), True)[:8]),
        ("in:img[0,0,0,:8]", normal("img", (2, 3, 256, 256))[0, 0, 0, :8]),
    ):
        assert_golden(found, FILE, f"probe.{key}", atol=0)


def test_parents() -> None:
    # The pelvis is listed as its own parent there.
    assert golden(FILE)["parents29"].tolist() == [max(parent, 0) for parent in PARENTS]


@pytest.mark.parametrize("twists", [0, TWISTS])
def test_neighbours(twists: int) -> None:
    linked = neighbours(JOINTS, twists)
    near = within(linked, paper().policy.hyponet.start_hops)
    expected = [golden(FILE)[f"neighbour_{twists}.{place}"] for place in range(4)]
    for found, matrix in zip((near, near[JOINTS:, JOINTS:], near[:JOINTS, :JOINTS], linked), expected, strict=True):
        np.testing.assert_array_equal(found.numpy().astype(np.uint8), matrix)


def test_attention_masks() -> None:
    network = HypoNet(paper().policy.hyponet, residual=True)
    expected = golden(FILE)["attn_mask_hyponet"]
    assert len(network.blocks) == len(expected)
    for block, blocked in enumerate(expected):
        np.testing.assert_array_equal(network.get_buffer(f"blocked_{block}").numpy().astype(np.uint8), blocked)


def test_position_codes() -> None:
    config = paper().policy.hyponet
    grid = image_code(config.width, 8, 8)[0].T.reshape(config.width, 8, 8)
    assert_golden(grid, FILE, "pos2d_512_8_8", atol=1e-6)
    assert_golden(sinusoidal_code(torch.arange(JOINTS + TWISTS), config.width), FILE, "item_emb_52_512", atol=1e-6)
    # Some libraries round the sine of a large angle in another way.
    assert_golden(sinusoidal_code(torch.tensor(TIMES), config.time_channels), FILE, "temb_128", atol=1e-5)
