"""The training loop that every training stage shares: deterministic, resumable at any checkpoint, one step at a time.

A recipe says what a step's loss is; the loop knows nothing of images or pairs. All randomness of step s comes from a
generator seeded by (seed, s) and the worker's rank, so that a run that was killed and resumed is bit for bit the run
that was not, and so that several workers draw batches of their own.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.precision import training_in
from schemas.config.training import OptimiserConfig
from schemas.errors import EngineError

Value = TypeVar("Value")


Figures = Mapping[str, Tensor]
"""Numbers without gradient (`figure`), by name. They are read where a step is told of: reading waits for the device."""


class Recipe(Protocol):
    """What is trained, and on what."""

    seed: int

    @property
    def model(self) -> nn.Module:
        """The module that is trained, checkpointed and averaged."""

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """The trained parameters: "encoder" and "rest"."""

    def loss(self, step: int, draw: np.random.Generator) -> tuple[Tensor, Figures]:
        """The loss of a step, and what the curves show of it. `draw` is the step's own source of randomness."""


Report = Callable[[int, Mapping[str, float], Callable[[], dict[str, Any]] | None], None]
"""Called after a step with its number, its figures, and where a checkpoint is due a function that makes the state."""


class Training:
    """Model, optimiser and moving average of one run; `run` goes from the current step to the last."""

    def __init__(self, recipe: Recipe, config: OptimiserConfig) -> None:
        self.recipe, self.config, self.step = recipe, config, 0
        groups = recipe.parameter_groups()
        self.rates = {"encoder": config.learning_rate * config.encoder_learning_rate, "rest": config.learning_rate}
        self.optimiser = torch.optim.AdamW(
            [
                {"params": groups[name], "lr": rate, "name": name}
                for name, rate in self.rates.items()
                if rate and groups[name]
            ],
            weight_decay=config.weight_decay,
        )
        self.averaged = {name: value.detach().clone() for name, value in recipe.model.state_dict().items()}

    def run(self, report: Report) -> None:
        """Train to the end, calling `report` every `report_every` steps, at checkpoints and at the last step."""
        recipe, config = self.recipe, self.config
        device = next(recipe.model.parameters()).device
        while self.step < config.steps:
            draw, of_torch = step_draw(recipe.seed, self.step, rank())
            torch.manual_seed(of_torch)  # dropout, where a recipe has any
            factor = self._rate_factor(self.step)
            for group in self.optimiser.param_groups:
                group["lr"] = self.rates[group["name"]] * factor
            self.optimiser.zero_grad(set_to_none=True)
            with training_in(config.precision, device):
                loss, figures = recipe.loss(self.step, draw)
            last = self.step + 1 == config.steps
            due = last or (self.step + 1) % config.checkpoint_every == 0
            told = due or (self.step + 1) % config.report_every == 0
            # What isn't finite stays so: where looking means waiting, it is enough to look before a step is told of.
            if (told or device.type == "cpu") and not torch.isfinite(loss):
                raise EngineError(
                    f"The loss became {loss.item()} at step {self.step} ({_numbers(figures)}). Lower the learning rate "
                    "or the beta of this stage; the last checkpoint is untouched."
                )
            loss.backward()
            parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
            self._share_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
            self.optimiser.step()
            self._average()
            self.step += 1
            if told:
                report(self.step, {"loss": loss.item(), **_numbers(figures)}, self.state if due else None)

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and plain values."""
        return {
            "step": self.step,
            "model": self.recipe.model.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.step = state["step"]
        self.recipe.model.load_state_dict(state["model"])
        self.averaged = dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _rate_factor(self, step: int) -> float:
        config = self.config
        warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
        if not config.cosine:
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * step / config.steps))

    def _share_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Mean of the gradients over the workers of a distributed run."""
        if _in_group() and dist.get_world_size() > 1:
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()

    @torch.no_grad()
    def _average(self) -> None:
        # The average of the first steps would remember the initial weights: let the decay grow (as in timm,
        # TensorFlow).
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.recipe.model.state_dict().items():
            average = self.averaged[name]
            if value.dtype.is_floating_point:
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)


def figure(value: Tensor) -> Tensor:
    """A scalar as the curves have it."""
    return value.detach().double()


def _numbers(figures: Figures) -> dict[str, float]:
    return {name: value.item() for name, value in figures.items()}


def step_draw(seed: int, step: int, worker: int) -> tuple[np.random.Generator, int]:
    """What a worker's recipe draws from in a step, and the seed of torch's own numbers in it."""
    draw = np.random.Generator(np.random.Philox(key=[seed, step], counter=[0, 0, 0, worker]))
    return draw, int(draw.integers(2**62))


def _in_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This worker's number in its group; 0 for one that trains alone."""
    return dist.get_rank() if _in_group() else 0


def from_first_worker(make: Callable[[], Value], device: torch.device) -> Value:
    """What `make` returns in the first worker of a group, in all of them."""
    if not _in_group():
        return make()
    values = [make() if rank() == 0 else None]
    dist.broadcast_object_list(values, src=0, device=device)
    return cast(Value, values[0])
