"""The training loop that every training stage shares: deterministic, resumable at any checkpoint, one step at a time.

A recipe says what a step draws, and what the loss of that is; the loop knows nothing of images or pairs. All randomness
of step s comes from a generator seeded by (seed, s), so that a run that was killed and resumed is bit for bit the run
that was not, and so that batches can be drawn ahead. Of several workers each does its share of the same batch (dropout
alone comes from each one's own seed), and so does each of the micro-batches of a worker.

Nothing waits for the device within a step: figures stay on it until they are reported. One thing does: features of a
frozen encoder that are made for the first time go to the host's memory, where they are kept (`tasks.train.features`).
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.precision import products_of, training_in
from schemas.config.optimiser import OptimiserConfig
from schemas.errors import EngineError
from tasks.engine.ahead import Ahead
from tasks.engine.share import Share

Value = TypeVar("Value")
Figures = dict[str, Tensor]
_EPSILON: Final = 1e-8
"""Of the image encoder's steps; torch's own."""
_MOST_UNSEEN: Final = 100
"""Steps after which losses are looked at, if no report comes before."""


class Recipe(Protocol):
    """What is trained, and on what."""

    seed: int

    @property
    def model(self) -> nn.Module:
        """The module that is trained, checkpointed and averaged."""

    def parameter_groups(self) -> Mapping[str, list[nn.Parameter]]:
        """The trained parameters: "encoder", "rest", and "encoder heads" where these have a rate of their own."""

    def draw(self, step: int, draw: np.random.Generator, share: Share) -> Any:
        """A share of what a step learns from, in the host's memory: tensors in dataclasses, tuples or dictionaries.

        `draw` is the step's own source of randomness, the same for all shares. Called ahead of the step, by a thread.
        """

    def loss(self, step: int, drawn: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The mean loss of what was drawn, by now on the device, and what the curves show of it."""


@runtime_checkable
class Moving(Protocol):
    """A recipe that moves more than its model."""

    def move(self) -> None:
        """Called after each step, when the model has its new weights."""

    def beside(self) -> Mapping[str, Tensor]:
        """What a checkpoint holds of it beside the model; empty where nothing moves."""

    def put_back(self, beside: Mapping[str, Tensor]) -> None:
        """Go on from what `beside` gave."""


@runtime_checkable
class Averaged(Protocol):
    """A recipe whose moving average begins with other weights than its model."""

    first_average: Mapping[str, Tensor]
    """Those, by their names in the model's state; what is not among them begins as in the model."""


Report = Callable[[int, Mapping[str, float], Callable[[], dict[str, Any]] | None], None]
"""Called after a step with its number, its figures, and where a checkpoint is due a function that makes the state."""


class Training:
    """Model, optimiser and moving average of one run; `run` goes from the current step to the last."""

    def __init__(self, recipe: Recipe, config: OptimiserConfig) -> None:
        self.recipe, self.config, self.step = recipe, config, 0
        self.device = next(recipe.model.parameters()).device
        self.waited_s = 0.0
        """Seconds that `run` waited for batches to be drawn."""
        groups = recipe.parameter_groups()
        heads = (config.encoder_heads_learning_rate or 0) if config.encoder_learning_rate else 0
        factors = {"encoder": config.encoder_learning_rate, "encoder heads": heads, "rest": 1}
        self.rates = {name: config.learning_rate * factor for name, factor in factors.items()}
        self.optimiser = torch.optim.AdamW(
            [
                {
                    "params": groups[name],
                    "lr": rate,
                    "name": name,
                    "eps": config.epsilon if name == "rest" else _EPSILON,
                }
                for name, rate in self.rates.items()
                if rate and groups.get(name)
            ],
            weight_decay=config.weight_decay,
        )
        self.frozen = {name for name, value in recipe.model.named_parameters() if not value.requires_grad}
        """Whose average is what they are."""
        started = recipe.model.state_dict()
        if isinstance(recipe, Averaged):
            started |= {name: value for name, value in recipe.first_average.items() if name not in self.frozen}
        self.averaged = {name: value.detach().clone() for name, value in started.items()}
        self.shares = [
            Share(rank() * config.micro_batches + number, _workers() * config.micro_batches)
            for number in range(config.micro_batches)
        ]
        self.module: nn.Module = _Loss(recipe)
        if _workers() > 1:
            # statistics of batch normalisation stay each worker's own; what a step does not use differs between steps
            self.module = DistributedDataParallel(
                self.module, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
            )

    def run(self, report: Report) -> None:
        """Train to the end, calling `report` every `report_every` steps, at checkpoints and at the last step."""
        places = ((step, share) for step in range(self.step, self.config.steps) for share in self.shares)
        with (
            products_of(self.config.precision),  # of the way back as well
            Ahead(self._draw, places, self.device, beside=self.device.type == "cuda") as batches,
        ):
            try:
                self._run(batches, report)
            finally:
                self.waited_s += batches.waited_s

    def _run(self, batches: Ahead[tuple[int, Share], Any], report: Report) -> None:
        config = self.config
        unseen: list[tuple[int, Figures]] = []
        while self.step < config.steps:
            factor = self._rate_factor(self.step)
            for group in self.optimiser.param_groups:
                group["lr"] = self.rates[group["name"]] * factor
            self.optimiser.zero_grad(set_to_none=True)
            unseen.append((self.step, self._gradients(batches)))
            self._clip()
            self.optimiser.step()
            self._average()
            if isinstance(self.recipe, Moving):
                self.recipe.move()
            self.step += 1
            last = self.step == config.steps
            due = last or self.step % config.checkpoint_every == 0
            reported = due or self.step % config.report_every == 0
            if reported or len(unseen) == _MOST_UNSEEN:
                figures = _seen(unseen)
                unseen.clear()
                if reported:
                    report(self.step, figures, self.state if due else None)

    def _clip(self) -> None:
        """Shorten the gradient: of all that is trained, or of the image encoder and the rest apart."""
        config, clipped = self.config, defaultdict[str, list[nn.Parameter]](list)
        for group in self.optimiser.param_groups:
            apart = config.encoder_gradient_clip is not None and group["name"] != "rest"
            clipped["encoder" if apart else "rest"] += group["params"]
        for name, parameters in clipped.items():
            longest = config.encoder_gradient_clip if name == "encoder" else None
            nn.utils.clip_grad_norm_(parameters, longest or config.gradient_clip)

    def _draw(self, place: tuple[int, Share]) -> Any:
        step, share = place
        return self.recipe.draw(step, step_draw(self.recipe.seed, step)[0], share)

    def _gradients(self, batches: Ahead[tuple[int, Share], Any]) -> Figures:
        """Add up the gradients of this worker's shares, and mean them over the workers; gives the mean figures."""
        parts: list[Figures] = []
        for share in self.shares:
            torch.manual_seed(step_draw(self.recipe.seed, self.step, share.number)[1])  # for dropout
            drawn = next(batches)
            with self._alone_unless(share is self.shares[-1]):
                with training_in(self.config.precision, self.device):
                    loss, figures = self.module(self.step, drawn)
                (loss / len(self.shares)).backward()
            parts.append({name: value.detach() for name, value in {"loss": loss, **figures}.items()})
        if len(parts) == 1:
            return parts[0]
        return {name: torch.stack([part[name] for part in parts]).mean(0) for name in parts[0]}

    def _alone_unless(self, is_last: bool) -> AbstractContextManager[None]:
        """Gradients go to the other workers with the last micro-batch, while its backward pass goes on."""
        if is_last or not isinstance(self.module, DistributedDataParallel):
            return nullcontext()
        return cast(AbstractContextManager[None], self.module.no_sync())

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and plain values."""
        state = {
            "step": self.step,
            "model": self.recipe.model.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
        }
        if isinstance(self.recipe, Moving) and (beside := self.recipe.beside()):
            state["beside"] = dict(beside)
        return state

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.step = state["step"]
        self.recipe.model.load_state_dict(state["model"])
        self.averaged = dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        if isinstance(self.recipe, Moving) and "beside" in state:
            self.recipe.put_back(state["beside"])

    def _rate_factor(self, step: int) -> float:
        config = self.config
        warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
        warm *= 0.5 ** bisect_right(config.halved_at, step)
        if not config.cosine:
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * step / config.steps))

    @torch.no_grad()
    def _average(self) -> None:
        # The average of the first steps would remember the initial weights: let the decay grow (as in timm,
        # TensorFlow).
        decay = self.config.ema_decay
        if self.config.ema_ramp:
            decay = min(decay, (1 + self.step) / (10 + self.step))
        for name, value in self.recipe.model.state_dict().items():
            average = self.averaged[name]
            if name in self.frozen:
                continue
            if value.dtype.is_floating_point:
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)


class _Loss(nn.Module):
    """A recipe's loss as a module: where gradients are shared, the forward pass has to go through one."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.model, self.loss = recipe.model, recipe.loss

    def forward(self, step: int, drawn: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self.loss(step, drawn)


def _seen(unseen: Sequence[tuple[int, Figures]]) -> dict[str, float]:
    """The figures of the last of these steps, of all workers together. EngineError where a loss is no number."""
    losses = _mean_of_workers(torch.stack([figures["loss"] for _, figures in unseen])).tolist()
    for (step, figures), loss in zip(unseen, losses, strict=True):
        if not math.isfinite(loss):
            parts = {name: value.item() for name, value in figures.items() if name != "loss"}
            raise EngineError(
                f"The loss became {loss} at step {step} ({parts}). Lower the learning rate or the beta of this stage; "
                "the last checkpoint is untouched."
            )
    figures = unseen[-1][1]
    values = _mean_of_workers(torch.stack([value.double() for value in figures.values()])).tolist()
    return dict(zip(figures, values, strict=True))


def _mean_of_workers(values: Tensor) -> Tensor:
    if _workers() > 1:
        dist.all_reduce(values)
        values /= _workers()
    return values


def step_draw(seed: int, step: int, share: int = 0) -> tuple[np.random.Generator, int]:
    """What a recipe draws a step's batch from, and the seed of torch's own numbers in a share of it.

    The batch is drawn from the first share's source, also for the others.
    """
    draw = np.random.Generator(np.random.Philox(key=[seed, step], counter=[0, 0, 0, share]))
    return draw, int(draw.integers(2**62))


def _in_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This worker's number in its group; 0 for one that trains alone."""
    return dist.get_rank() if _in_group() else 0


def _workers() -> int:
    return dist.get_world_size() if _in_group() else 1


def from_first_worker(make: Callable[[], Value], device: torch.device) -> Value:
    """What `make` returns in the first worker of a group, in all of them."""
    if not _in_group():
        return make()
    values = [make() if rank() == 0 else None]
    dist.broadcast_object_list(values, src=0, device=device)
    return cast(Value, values[0])
