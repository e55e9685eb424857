"""Do something else at a fault point than to die there: a command in this process, or hold it until a test lets it go
on, so that what happens meanwhile is no matter of luck."""

import time
from collections.abc import Callable
from pathlib import Path

from infra import faults

HELD, GO = "held", "go"
SECONDS = 300.0


def at_points(do: Callable[[str], None]) -> None:
    """Call `do` at every point that this process comes by from now on, but for those that `do` comes by itself."""
    reach, busy = faults.reach, False

    def reach_and_do(point: str) -> None:
        nonlocal busy
        reach(point)
        if not busy:
            busy = True
            try:
                do(point)
            finally:
                busy = False

    faults.reach = reach_and_do


def at_point(where: str, do: Callable[[], None]) -> None:
    """Call `do` once, at the point `where`; at `where@3` when the process comes by it the third time."""
    name, _, times = where.partition("@")
    left = int(times or 1)

    def count(point: str) -> None:
        nonlocal left
        left -= point == name
        if point == name and left == 0:
            do()

    at_points(count)


def hold(where: str, folder: str) -> None:
    """Stop this process when it comes to a point: it makes `folder/held` and waits for `folder/go`."""

    def wait() -> None:
        Path(folder, HELD).touch()
        until(Path(folder, GO).exists, f"nobody made {GO} in {folder}")

    at_point(where, wait)


def until(reached: Callable[[], bool], otherwise: str) -> None:
    """Wait for it; AssertionError with the words of `otherwise` if it takes very long."""
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"after {SECONDS:.0f} s: {otherwise}"
        time.sleep(0.05)
