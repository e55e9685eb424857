"""What the tests of faults share: a process that forks, the line that was walked once, and the micro store."""

from collections.abc import Iterator

import pytest

from tests.faults.nursery import Nursery
from tests.faults.prepared import Prepared
from tests.tasks.conftest import micro_store, shared_micro_store

__all__ = ["micro_store", "shared_micro_store"]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Forks a process for each order."""
    made = Nursery()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def prepared(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A DPO round, a cleaning round and what people bring, undisturbed: half a minute."""
    return Prepared.walk(nursery, tmp_path_factory.mktemp("line"))
