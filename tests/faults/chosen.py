"""A plugin of pytest that leaves out the tests which no chosen row names; it works in each of several processes."""

import os

import pytest

from tests.faults.rows import CHOSEN


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what is chosen."""
    names = tuple(os.environ[CHOSEN].splitlines())
    items[:] = [item for item in items if item.nodeid.startswith(names)]
