"""A plugin of pytest that leaves out the tests which no chosen row names; it works in each of several processes."""

import os

import pytest

CHOSEN = "FAULTS_CHOSEN"
"""The variable that holds beginnings of names of tests, a line each. The tests remove those that begin with ADHMR."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what is chosen."""
    names = tuple(os.environ[CHOSEN].splitlines())
    items[:] = [item for item in items if item.nodeid.startswith(names)]
