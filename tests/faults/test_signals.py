"""Signals from outside, at moments drawn by a seed, to each process of an `adhmr run`: every run ends in time, in plain
words and without a process left, and those after it come to the undisturbed rows."""

import random

import pytest

from tests.faults.signals import SIGNALS, TARGETS, Runs

SEED = 20261128
pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs.begin(tmp_path_factory.mktemp("signals"))


@pytest.mark.parametrize("target", TARGETS)
def test_every_signal(runs: Runs, target: str) -> None:
    draw = random.Random(f"{SEED} {target}")
    wrong = [line for name in SIGNALS for line in runs.disturb(target, target, name, draw)]
    assert wrong + runs.finish(target) == []
