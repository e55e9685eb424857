"""The published moving average of the weights: a list of tensors without names, and a decay that grows.

ScoreHypo and ADHMR keep an average of the trained parameters alone, in the order in which the module lists them;
buffers (batch-norm statistics) are not part of it. Evaluation runs on these weights. The training loop of this project
averages the whole state dict by name instead; this class reads, goes on with and writes the published form.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from schemas.errors import DataError

PUBLISHED_DECAY = 0.9999
_FIELDS = ("decay", "num_updates", "shadow_params")


class PublishedAverage:
    """The average of a module's trained parameters.

    After update k, counted from 1, the average has moved by 1 - min(decay, (1 + k)/(10 + k)) towards the parameters.
    """

    def __init__(self, module: nn.Module, decay: float = PUBLISHED_DECAY) -> None:
        self.decay, self.updates = decay, 0
        self.shadow = [parameter.detach().clone() for _, parameter in trained(module)]

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the parameters of `module`, the one that this average was made for."""
        self.updates += 1
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for average, (_, parameter) in zip(self.shadow, trained(module), strict=True):
            average.lerp_(parameter.detach(), 1 - kept)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the trained parameters of `module` with the average; its buffers stay as they are."""
        for average, (_, parameter) in zip(self.shadow, trained(module), strict=True):
            parameter.copy_(average)

    def state(self) -> dict[str, Any]:
        """The published form: decay, num_updates and shadow_params, a list of tensors in the order of the module."""
        return {"decay": self.decay, "num_updates": self.updates, "shadow_params": list(self.shadow)}

    @classmethod
    def from_state(
        cls, module: nn.Module, state: Mapping[str, Any], where: str = "the moving average"
    ) -> "PublishedAverage":
        """Read the published form for `module`; `where` names it in errors.

        Raises DataError if it is no such average, or if its tensors are not those of the module's trained parameters.
        """
        missing = [name for name in _FIELDS if name not in state]
        if missing:
            raise DataError(f"{where} is no published moving average: it has no {', '.join(missing)}.")
        shadow: Sequence[Any] = state["shadow_params"]
        wanted = trained(module)
        if len(shadow) != len(wanted):
            raise DataError(
                f"{where} holds {len(shadow)} tensors, but {type(module).__name__} as configured trains {len(wanted)}. "
                "It belongs to a model of another size or kind."
            )
        for place, (tensor, (name, parameter)) in enumerate(zip(shadow, wanted, strict=True)):
            shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            if shape != tuple(parameter.shape):
                raise DataError(
                    f"{where}: tensor {place} is {shape}, but {name}, which stands there in {type(module).__name__}, "
                    f"is {tuple(parameter.shape)}. It belongs to a model of another size or kind."
                )
        average = cls(module, float(state["decay"]))
        average.updates = int(state["num_updates"])
        average.shadow = [
            tensor.detach().to(parameter).clone() for tensor, (_, parameter) in zip(shadow, wanted, strict=True)
        ]
        return average


def trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Name and parameter of everything that is trained, in the order that gives the published list its meaning."""
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
