"""The training loop: resumed is undisturbed, the average is an average, and a loss that is no number is an error."""

import io
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from schemas.config.optimiser import OptimiserConfig
from schemas.errors import EngineError
from tasks.engine.loop import Training
from tasks.engine.share import Share


class Regression:
    """A tiny network with batch-norm and dropout that learns a line."""

    def __init__(self, seed: int = 0, bad_step: int | None = None) -> None:
        torch.manual_seed(seed)
        self.seed, self.bad_step = seed, bad_step
        self.encoder, self.head = nn.Linear(4, 8), nn.Linear(8, 1)
        self.model = nn.Sequential(self.encoder, nn.BatchNorm1d(8), nn.Dropout(0.1), self.head).train()

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        return {"encoder": list(self.encoder.parameters()), "rest": list(self.head.parameters())}

    def draw(self, step: int, draw: np.random.Generator, share: Share) -> Tensor:
        return torch.from_numpy(draw.standard_normal((16, 4), dtype=np.float32)[share.places(16)])

    def loss(self, step: int, inputs: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        loss = (self.model(inputs)[:, 0] - inputs.sum(1)).square().mean()
        if step == self.bad_step:
            loss = loss * float("nan")
        return loss, {"mse": loss}


def optimiser(**changes: Any) -> OptimiserConfig:
    settings = {"steps": 30, "learning_rate": 1e-2, "warmup_steps": 3, "checkpoint_every": 7, "report_every": 5}
    return OptimiserConfig(**{**settings, **changes})


def trained(config: OptimiserConfig, report: Callable[..., None] = lambda *_: None, **kwargs: Any) -> Training:
    training = Training(Regression(**kwargs), config)
    training.run(report)
    return training


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_it_learns_and_the_average_with_it() -> None:
    losses: list[float] = []
    training = trained(optimiser(steps=300), lambda step, figures, state: losses.append(figures["loss"]))
    assert losses[-1] < 0.2 * losses[0]
    assert not same(training.averaged, training.recipe.model.state_dict())


def test_reports_come_when_they_are_due() -> None:
    seen: list[tuple[int, bool]] = []
    trained(optimiser(), lambda step, figures, state: seen.append((step, state is not None)))
    due = [7, 14, 21, 28, 30]
    assert seen == [(step, step in due) for step in sorted({*due, 5, 10, 15, 20, 25, 30})]


@pytest.mark.parametrize("kill_after", [7, 14, 21, 28])
def test_a_resumed_run_has_the_bits_of_an_undisturbed_one(kill_after: int) -> None:
    undisturbed = trained(optimiser())
    states: dict[int, Any] = {}

    def report(step: int, figures: Mapping[str, float], state: Callable[[], dict[str, Any]] | None) -> None:
        if state is not None:
            states[step] = torch.load(_saved(state()), weights_only=True)

    trained(optimiser(), report)
    resumed = Training(Regression(seed=5), optimiser())
    resumed.recipe.seed = 0
    resumed.resume(states[kill_after])
    resumed.run(lambda *_: None)
    assert same(resumed.averaged, undisturbed.averaged)
    assert same(resumed.recipe.model.state_dict(), undisturbed.recipe.model.state_dict())


def _saved(state: dict[str, Any]) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


class Products(torch.autograd.Function):
    """Passes on what it is given, and notes whether a GPU may round the factors of products on either way."""

    seen: ClassVar[list[tuple[str, bool, bool]]] = []

    @staticmethod
    def note(way: str) -> None:
        Products.seen.append((way, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        Products.note("there")
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        Products.note("back")
        return gradients[0]


class Noting(Regression):
    """Notes it in each step."""

    def loss(self, step: int, inputs: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        loss, figures = super().loss(step, inputs)
        return Products.apply(loss), figures


@pytest.mark.parametrize(("precision", "may"), [("float32", False), ("tfloat32", True), ("bfloat16", False)])
def test_the_way_back_computes_as_the_way_there(precision: str, may: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own switches let convolutions round, whatever was asked for, and products not."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not may)
    monkeypatch.setattr(Products, "seen", [])
    Training(Noting(), optimiser(steps=1, precision=precision)).run(lambda *_: None)
    assert Products.seen == [("there", may, may), ("back", may, may)]
    assert torch.backends.cudnn.allow_tf32 is not may, "and are put back"


def test_the_average_without_decay_is_the_model() -> None:
    training = trained(optimiser(ema_decay=0.0))
    assert same(training.averaged, training.recipe.model.state_dict())


def test_an_encoder_at_rate_zero_stays() -> None:
    before = {name: value.clone() for name, value in Regression().encoder.state_dict().items()}
    training = trained(optimiser(encoder_learning_rate=0.0))
    assert isinstance(training.recipe, Regression)
    assert same(before, training.recipe.encoder.state_dict())
    assert not same(Regression().head.state_dict(), training.recipe.head.state_dict())


def test_the_rate_rises_and_falls() -> None:
    training = Training(Regression(), optimiser(steps=100, warmup_steps=9))
    rates = [training._rate_factor(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, abs=1e-3)
    assert max(rates) == rates[9] > 0.97
    assert rates[99] < 0.001
    flat = Training(Regression(), optimiser(cosine=False))
    assert flat._rate_factor(25) == 1.0


def test_the_rate_is_halved_at_its_steps() -> None:
    training = Training(Regression(), optimiser(cosine=False, warmup_steps=0, halved_at=(3, 5)))
    assert [training._rate_factor(step) for step in range(7)] == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    with pytest.raises(ValidationError, match=r"halved_at=\[5, 5\] must be steps from 1 on, each larger"):
        optimiser(halved_at=(5, 5))
    with pytest.raises(ValidationError, match=r"halved_at=\[0\] must be steps from 1 on"):
        optimiser(halved_at=(0,))


def clipped(**changes: Any) -> dict[str, float]:
    """Norms of the gradients of encoder and rest, 3 and 4 times the root of their size, after clipping."""
    training = Training(Regression(), optimiser(**changes))
    for group, value in zip(training.optimiser.param_groups, (3.0, 4.0), strict=True):
        size = sum(parameter.numel() for parameter in group["params"])
        for parameter in group["params"]:
            parameter.grad = torch.full_like(parameter, value / math.sqrt(size))
    training._clip()
    grads = {
        group["name"]: [parameter.grad for parameter in group["params"]] for group in training.optimiser.param_groups
    }
    return {name: float(nn.utils.get_total_norm(values)) for name, values in grads.items()}


def test_a_gradient_is_clipped_as_a_whole_or_the_encoders_apart() -> None:
    assert clipped(gradient_clip=2.5) == pytest.approx({"encoder": 1.5, "rest": 2.0}, rel=1e-5)
    apart = clipped(gradient_clip=2.5, encoder_gradient_clip=1.0)
    assert apart == pytest.approx({"encoder": 1.0, "rest": 2.5}, rel=1e-5)
    assert clipped(gradient_clip=9.0, encoder_gradient_clip=1.0) == pytest.approx(
        {"encoder": 1.0, "rest": 4.0}, rel=1e-5
    )


def test_an_average_without_a_ramp_keeps_its_share_of_the_start() -> None:
    start = Regression().head.weight.detach().clone()
    training = Training(Regression(), optimiser(steps=5, ema_decay=0.9, ema_ramp=False))
    weights: list[Tensor] = []
    average = training._average

    def watched() -> None:
        weights.append(training.recipe.model[3].weight.detach().clone())
        average()

    training._average = watched  # type: ignore[method-assign]
    training.run(lambda *_: None)
    expected = 0.9**5 * start + sum(0.1 * 0.9 ** (4 - step) * value for step, value in enumerate(weights))
    torch.testing.assert_close(training.averaged["3.weight"], expected)


class Averaging(Regression):
    """One whose average begins elsewhere."""

    first_average: Mapping[str, Tensor] = MappingProxyType({"3.weight": torch.full((1, 8), 5.0)})


def test_the_average_may_begin_with_other_weights() -> None:
    training = Training(Averaging(), optimiser(steps=2, ema_decay=0.9, ema_ramp=False))
    assert same(training.averaged, {**training.recipe.model.state_dict(), **Averaging.first_average})
    training.run(lambda *_: None)
    assert training.averaged["3.weight"].min() > 0.81 * 5 - 0.2
    assert training.recipe.model[3].weight.max() < 1


class WithHeads(Regression):
    """One whose encoder's weight is a head."""

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        groups = {"encoder": [self.encoder.bias], "encoder heads": [self.encoder.weight]}
        return {**groups, "rest": list(self.head.parameters())}


def test_heads_of_an_encoder_follow_a_rate_of_their_own() -> None:
    rates = {"learning_rate": 1e-2, "encoder_learning_rate": 2.0, "encoder_heads_learning_rate": 10.0}
    training = Training(WithHeads(), optimiser(**rates, epsilon=1e-24, steps=1, warmup_steps=0))
    groups = {group["name"]: (group["lr"], group["eps"]) for group in training.optimiser.param_groups}
    expected = {"encoder": (2e-2, 1e-8), "encoder heads": (1e-1, 1e-8), "rest": (1e-2, 1e-24)}
    assert {name: pytest.approx(pair) for name, pair in expected.items()} == groups
    before = training.recipe.model[0].weight.detach().clone()
    training.run(lambda *_: None)
    moved = (training.recipe.model[0].weight - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-1), rtol=1e-3, atol=0)  # Adam's first step


def test_a_loss_that_is_no_number_is_an_error_in_words() -> None:
    with pytest.raises(EngineError, match=r"The loss became nan at step 11 .*Lower the learning rate") as raised:
        trained(optimiser(), bad_step=11)
    assert "mse" in str(raised.value)


def test_the_seed_decides() -> None:
    assert same(trained(optimiser()).averaged, trained(optimiser()).averaged)
    assert not same(trained(optimiser()).averaged, trained(optimiser(), seed=1).averaged)
