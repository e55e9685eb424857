"""In which order the files of tests are done, and which of them by the same process, where pytest-xdist has several."""

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/faults/",)
"""Rooms whose files share what takes half a minute to make, and a process with all libraries: one process does all."""


class ByFile(LoadFileScheduling):
    """As `--dist loadfile`, but for the rooms that stay together."""

    def _split_scope(self, nodeid: str) -> str:
        return share(nodeid)


def share(nodeid: str) -> str:
    """What a test is done together with: its file, or its room."""
    return next((room for room in TOGETHER if nodeid.startswith(room)), nodeid.partition("::")[0])


def slow_files_first(items: list[pytest.Item]) -> None:
    """So that no process is left alone with a long file at the end: the quick ones are many, and short."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
