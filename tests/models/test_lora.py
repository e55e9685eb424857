"""Low-rank additions to HypoNet: silent at first, alone in being trained, and mergeable."""

import torch
from torch import Tensor

from models.hyponet import Context, HypoNet
from models.lora import add_low_rank, merged_state
from schemas.config.networks import HypoNetConfig

CONFIG = HypoNetConfig()


def _network() -> HypoNet:
    torch.manual_seed(0)
    return HypoNet(CONFIG, residual=True).eval()


def _output(network: HypoNet) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    context = Context(
        torch.randn(2, CONFIG.width, 4, 4, generator=generator),
        torch.randn(2, 52, CONFIG.local_channels, generator=generator),
        torch.zeros(2, 87),
        torch.zeros(2, 46),
    )
    joints, twists = torch.randn(2, 87, generator=generator), torch.randn(2, 46, generator=generator)
    return torch.cat(network(joints, twists, torch.tensor([5, 800]), context), dim=1)


def test_additions_change_nothing_until_they_are_trained() -> None:
    torch.testing.assert_close(_output(add_low_rank(_network())), _output(_network()))


def test_additions_alone_are_trained_and_can_be_merged() -> None:
    network = add_low_rank(_network(), rank=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # at the first step one of the two factors is still zero, and stops the other's gradient
        optimiser.zero_grad()
        _output(network).square().mean().backward()
        optimiser.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    blocks = len(CONFIG.attention_hops)
    assert len(changed) == blocks * 2 * 2
    assert all(".lora_proj." in name for name in changed)
    plain = _network()
    assert not torch.allclose(_output(plain), _output(network))
    plain.load_state_dict(merged_state(network))
    torch.testing.assert_close(_output(plain), _output(network))


def test_additions_are_made_once() -> None:
    network = add_low_rank(add_low_rank(_network()))
    assert sum(".lora_proj." in name for name, _ in network.named_parameters()) == len(CONFIG.attention_hops) * 4
