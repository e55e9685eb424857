"""Where the time of a run of the tests went, by file and by process: the end of what `--durations=N` prints."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Protocol


class Phase(Protocol):
    """Set-up, call or tear-down of a test, as pytest reports it."""

    nodeid: str
    duration: float
    """Seconds."""


def lines(phases: Iterable[Phase], count: int) -> Iterator[str]:
    """The `count` longest files (0: all), fixtures and all; then each process, by its name in pytest-xdist."""
    files, processes = defaultdict[str, float](float), defaultdict[str, float](float)
    for phase in phases:
        files[phase.nodeid.partition("::")[0]] += phase.duration
        processes[getattr(phase, "worker_id", "this process")] += phase.duration
    longest = sorted(files.items(), key=lambda file: -file[1])
    for name, seconds in longest[: count or None]:
        yield f"{seconds:7.1f}s {name}"
    yield "; ".join(f"{name}: {seconds:.0f}s in tests" for name, seconds in sorted(processes.items()))
