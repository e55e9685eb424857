"""Compiled forms of networks: the same weights, other code."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from models import compilation
from models.compilation import check_compiler, compiled
from schemas.errors import ConfigError


@pytest.fixture(autouse=True)
def ask_anew() -> Iterator[None]:
    check_compiler.cache_clear()
    yield
    check_compiler.cache_clear()


def test_where_nothing_can_be_compiled_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise TorchDynamoException("No working C++ compiler found\nand a long stack")

    monkeypatch.setattr(torch, "compile", lambda work: refuse)
    with pytest.raises(
        ConfigError, match=r"needs a C\+\+ compiler \(g\+\+\) .*: No working C\+\+ compiler found Install"
    ):
        compiled(nn.Linear(2, 2))


def test_the_network_itself_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "check_compiler", lambda device: None)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    form = compiled(network)
    assert network._compiled_call_impl is None
    assert form._compiled_call_impl is not None
    assert [one.data_ptr() for one in form.parameters()] == [one.data_ptr() for one in network.parameters()]
