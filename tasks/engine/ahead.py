"""Batches that are drawn before they are needed: while a GPU computes a step, a thread draws and decodes the next.

What a batch holds depends on its place alone, so drawing it early changes nothing. On the CPU a batch is drawn when it
is asked for: the step has the cores, and a thread beside it that waits for one while it holds Python's lock stops the
step as well (on two cores a step of `tiny` took 1.6 times as long).
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, Final, Generic, TypeVar

import torch
from torch import Tensor

Place = TypeVar("Place")
Batch = TypeVar("Batch")
_DEPTH: Final = 2
"""Batches that wait at most: one for the next step, and one that is being drawn."""


class Ahead(Generic[Place, Batch]):
    """What `draw` gives for each of the places, in their order, on the device; `close` ends the thread that draws.

    With `beside` a thread draws ahead, else each is drawn when it is asked for. What `draw` raises is raised when its
    batch is asked for. To a GPU the batches are copied beside the computation.
    """

    def __init__(
        self, draw: Callable[[Place], Batch], places: Iterable[Place], device: torch.device, *, beside: bool
    ) -> None:
        self.waited_s = 0.0
        """Seconds that `next` waited for batches that were not ready."""
        self._draw, self._places, self._device = draw, iter(places), device
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._executor = ThreadPoolExecutor(1, "batches") if beside else None
        self._coming: deque[Callable[[], tuple[Batch, Any]]] = deque()
        self._order()

    def __enter__(self) -> "Ahead[Place, Batch]":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch. StopIteration after the last place."""
        if not self._coming:
            raise StopIteration
        started = time.perf_counter()
        batch, copied = self._coming.popleft()()
        self.waited_s += time.perf_counter() - started
        self._order()
        if copied is not None:
            now = torch.cuda.current_stream(self._device)
            now.wait_event(copied)
            _each_tensor(batch, lambda tensor: tensor.record_stream(now))
        return batch

    def close(self) -> None:
        """Draw nothing more."""
        self._coming.clear()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def _order(self) -> None:
        while len(self._coming) < (1 if self._executor is None else _DEPTH):
            try:
                place = next(self._places)
            except StopIteration:
                return
            if self._executor is None:
                self._coming.append(partial(self._make, place))
            else:
                self._coming.append(self._executor.submit(self._make, place).result)

    def _make(self, place: Place) -> tuple[Batch, Any]:
        batch = self._draw(place)
        if self._copies is None:
            return batch, None
        with torch.cuda.stream(self._copies):
            moved = _mapped(batch, lambda tensor: tensor.pin_memory().to(self._device, non_blocking=True))
            return moved, self._copies.record_event()


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same with each of its tensors changed: in dataclasses and tuples, also in those that they hold."""
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _mapped(getattr(value, one.name), change) for one in fields(value)})
    if isinstance(value, tuple):
        return tuple(_mapped(part, change) for part in value)
    if isinstance(value, dict):
        return {name: _mapped(part, change) for name, part in value.items()}
    return value


def _each_tensor(value: Any, do: Callable[[Tensor], Any]) -> None:
    def keep(tensor: Tensor) -> Tensor:
        do(tensor)
        return tensor

    _mapped(value, keep)
