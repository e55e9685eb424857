"""The published moving average: its decay, what it covers, and what it says of a file that does not fit."""

import pytest
import torch
from torch import nn

from models.ema import PublishedAverage
from schemas.errors import DataError


def _module() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    module[0].bias.requires_grad_(False)
    return module


def test_decay_grows_to_its_limit() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = PublishedAverage(module, decay=0.25)
    nn.init.ones_(module.weight)
    expected = 0.0
    for kept in (2 / 11, 3 / 12, 0.25, 0.25):  # (1 + k)/(10 + k) for k = 1, 2, then the limit
        average.update(module)
        expected = kept * expected + (1 - kept)
        assert average.shadow[0].item() == pytest.approx(expected, abs=1e-6)


def test_frozen_parameters_and_buffers_are_left_alone() -> None:
    module = _module()
    average = PublishedAverage(module)
    assert [tuple(tensor.shape) for tensor in average.shadow] == [(3, 2), (3,), (3,), (1, 3), (1,)]
    other = _module()
    for tensor in (*other.parameters(), other[1].running_mean):
        nn.init.constant_(tensor, 7.0)
    average.copy_to(other)
    assert torch.equal(other[0].weight, module[0].weight)
    assert torch.equal(other[0].bias, torch.full((3,), 7.0))
    assert torch.equal(other[1].running_mean, torch.full((3,), 7.0))


def test_state_goes_on_where_it_was_saved() -> None:
    module = _module()
    once = PublishedAverage(module)
    once.update(module)
    again = PublishedAverage.from_state(module, once.state())
    for tensor in module.parameters():
        nn.init.constant_(tensor, 1.0)
    for average in (once, again):
        average.update(module)
    assert again.updates == 2
    for one, other in zip(once.shadow, again.shadow, strict=True):
        assert torch.equal(one, other)


def test_reading_takes_copies() -> None:
    module = _module()
    state = PublishedAverage(module).state()
    before = state["shadow_params"][0].clone()
    average = PublishedAverage.from_state(module, state)
    nn.init.zeros_(module[0].weight)
    average.update(module)
    assert torch.equal(state["shadow_params"][0], before)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("num_updates"), "it has no num_updates"),
        (lambda state: state["shadow_params"].pop(), "holds 4 tensors, but Sequential as configured trains 5"),
        (
            lambda state: state["shadow_params"].insert(0, state["shadow_params"].pop()),
            r"tensor 0 is \(1,\), but 0.weight, which stands there in Sequential, is \(3, 2\)",
        ),
    ],
)
def test_what_does_not_fit_is_told(change: object, told: str) -> None:
    module = _module()
    state = PublishedAverage(module).state()
    assert callable(change)
    change(state)
    with pytest.raises(DataError, match=f"ema of a.pt.*{told}"):
        PublishedAverage.from_state(module, state, where="ema of a.pt")
