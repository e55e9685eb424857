"""What tests of whole ingests begin with: synthetic people, an empty store, and a folder of body files."""

from pathlib import Path

import numpy as np
import pytest

from infra.store import Store
from tasks.engine.context import Context
from tests.models.smplx_file import smplx_arrays
from tests.samples.truth import TruePerson, true_people
from tests.tasks import micro

GATES = micro.CONFIG.gates.model_copy(update={"max_failed_share": 1.0})
CONFIG = micro.CONFIG.model_copy(update={"gates": GATES})


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(6)


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return Context(Store.open(str(tmp_path / "store")), CONFIG, in_process=True)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published bodies' layout with an SMPL-X body of our own."""
    folder = tmp_path_factory.mktemp("bodies") / "human_model_files"
    (folder / "smplx").mkdir(parents=True)
    np.savez(folder / "smplx" / "SMPLX_NEUTRAL.npz", **smplx_arrays())
    return folder
