"""Fixtures for the tests of stages. The store is made once a session; each test gets a copy to write to."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from infra.store import Store
from tasks.engine.context import Context
from tests.tasks import micro


class MicroStore(NamedTuple):
    """A store of `micro` size."""

    store: Store
    ingest_key: str
    policy: str
    """Digest of an untrained policy."""
    scorer: str
    """Digest of an untrained scorer."""

    @property
    def context(self) -> Context:
        """A context without Ray."""
        return Context(self.store, micro.CONFIG, in_process=True)


@pytest.fixture(scope="session")
def shared_micro_store(tmp_path_factory: pytest.TempPathFactory) -> MicroStore:
    """Only to be read."""
    store, key = micro.make_store(tmp_path_factory.mktemp("micro") / "store")
    return MicroStore(store, key, micro.untrained(store, "policy"), micro.untrained(store, "scorer"))


@pytest.fixture
def micro_store(shared_micro_store: MicroStore, tmp_path: Path) -> MicroStore:
    """A copy of the test's own."""
    folder = tmp_path / "store"
    shutil.copytree(shared_micro_store.store.root, folder)
    return shared_micro_store._replace(store=Store.open(folder))
