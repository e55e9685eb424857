"""What makes a program wait for its device, noted while it runs."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Waits(TorchDispatchMode):
    """Notes what makes a program wait for a device: numbers that are read from it, and tables that are sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = call(*args, **(kwargs or {}))
        name = str(call)
        tensors = [part for part in (made, *args) if isinstance(part, Tensor) and part.dim()]
        if "_local_scalar_dense" in name or "nonzero" in name or len({part.device for part in tensors}) > 1:
            self.noted.append(name)
        return made
