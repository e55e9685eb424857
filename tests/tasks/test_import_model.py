"""Models that come from files: another store's, or no model at all; published ones are in tests/parity."""

from pathlib import Path

import pytest

from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from tasks.engine.context import Context
from tasks.rows.models import find_model, load_policy
from tasks.stages.import_model import import_model
from tests.tasks import micro
from tests.tasks.conftest import MicroStore


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return Context(Store.open(str(tmp_path / "other")), micro.CONFIG)


def test_a_model_of_another_store_is_the_same_model(shared_micro_store: MicroStore, here: Context) -> None:
    held = shared_micro_store
    file = Path(held.store.path(f"checkpoints/{held.policy}.safetensors"))
    assert import_model(here, file) == held.policy
    assert import_model(here, file) == held.policy
    assert len(read(here.store, "models")) == 1
    assert find_model(here.store, held.policy[:8], "policy") == held.policy
    assert load_policy(here.store, held.policy).config == micro.CONFIG.policy


def test_other_files_are_refused(here: Context, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no checkpoint"):
        import_model(here, tmp_path / "absent.pth")
    page = tmp_path / "page.pth"
    page.write_text("<html>Sign in</html>")
    with pytest.raises(DataError, match="is a web page"):
        import_model(here, page)
    assert len(read(here.store, "stages")) == 0
