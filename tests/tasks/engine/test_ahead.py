"""Batches come in their order whatever thread draws them, what goes wrong is told in its turn, and nothing is left."""

import threading
import time
from dataclasses import dataclass

import pytest
import torch

from tasks.engine.ahead import Ahead, _mapped

CPU = torch.device("cpu")


@pytest.mark.parametrize("beside", [False, True])
def test_they_come_in_order_and_then_no_more(beside: bool) -> None:
    with Ahead(lambda place: place * 10, range(5), CPU, beside=beside) as batches:
        assert list(batches) == [0, 10, 20, 30, 40]


def test_the_next_ones_are_drawn_while_the_first_is_used() -> None:
    drawn: list[int] = []
    with Ahead(lambda place: drawn.append(place) or place, range(9), CPU, beside=True) as batches:
        next(batches)
        while len(drawn) < 3:
            time.sleep(0.001)
        time.sleep(0.02)
        assert drawn == [0, 1, 2], "no more than two wait"


def test_without_a_thread_each_is_drawn_when_it_is_asked_for() -> None:
    drawn: list[str] = []

    def draw(place: int) -> int:
        drawn.append(threading.current_thread().name)
        return place

    with Ahead(draw, range(9), CPU, beside=False) as batches:
        assert not drawn
        assert [next(batches), next(batches)] == [0, 1]
    assert drawn == [threading.current_thread().name] * 2, "in the thread that asks"


@pytest.mark.parametrize("beside", [False, True])
def test_waiting_is_counted(beside: bool) -> None:
    with Ahead(lambda place: time.sleep(0.05), range(1), CPU, beside=beside) as batches:
        next(batches)
        assert 0.01 < batches.waited_s < 5


@pytest.mark.parametrize("beside", [False, True])
def test_an_error_comes_when_its_batch_is_asked_for_and_the_thread_ends(beside: bool) -> None:
    def draw(place: int) -> int:
        if place == 1:
            raise ValueError("the second")
        return place

    with Ahead(draw, range(3), CPU, beside=beside) as batches:
        assert next(batches) == 0
        with pytest.raises(ValueError, match="the second"):
            next(batches)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@dataclass(frozen=True)
class Part:
    tensor: torch.Tensor
    name: str
    inner: "Part | None" = None


def test_every_tensor_of_a_batch_gets_to_the_device() -> None:
    one = torch.zeros(1)
    batch = {"a": (Part(one, "x", Part(one, "y")), 3), "b": None, "c": one}
    moved = _mapped(batch, lambda tensor: tensor + 1)
    assert moved == {"a": (Part(one + 1, "x", Part(one + 1, "y")), 3), "b": None, "c": one + 1}
