"""Hold a process at a fault point until a test lets it go on, so that what happens meanwhile is no matter of luck."""

import time
from collections.abc import Callable
from pathlib import Path

from infra import faults

HELD, GO = "held", "go"
SECONDS = 300.0


def hold(where: str, folder: str) -> None:
    """Stop this process when it comes to a point: it makes `folder/held` and waits for `folder/go`."""
    reach, held = faults.reach, Path(folder, HELD)

    def reach_or_wait(point: str) -> None:
        reach(point)
        if point == where and not held.exists():
            held.touch()
            until(Path(folder, GO).exists, f"nobody made {GO} in {folder}")

    faults.reach = reach_or_wait


def until(reached: Callable[[], bool], otherwise: str) -> None:
    """Wait for it; AssertionError with the words of `otherwise` if it takes very long."""
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"after {SECONDS:.0f} s: {otherwise}"
        time.sleep(0.1)
