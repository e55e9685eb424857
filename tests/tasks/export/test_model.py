"""Models as files and folders: written once and whole, and the same models when they come back."""

from pathlib import Path

import pytest
import torch

from infra.store import Store
from infra.tables import read
from models.checkpoints import export, opening
from models.checkpoints.export import Progress, published_content
from models.checkpoints.published import read_published
from models.policy import Policy
from schemas.errors import DamagedError, DataError
from schemas.profiles import micro
from tasks.engine.context import Context
from tasks.export.model import export_checkpoint, export_hub
from tasks.export.target import whole_file
from tasks.rows.models import find_model, model_path
from tasks.stages.import_model import import_model
from tests.tasks.conftest import MicroStore


@pytest.fixture
def other(tmp_path: Path) -> Context:
    return Context(Store.open(tmp_path / "other"), micro())


@pytest.fixture
def published_at_micro_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published layout is the same at any size; its own takes seconds to make."""
    for module in (export, opening):
        monkeypatch.setattr(module, "paper", micro)


@pytest.mark.parametrize("kind", ["policy", "scorer"])
def test_networks_that_are_not_published_stay_in_our_layout(
    kind: str, shared_micro_store: MicroStore, other: Context, tmp_path: Path
) -> None:
    store, digest = shared_micro_store.store, getattr(shared_micro_store, kind)
    said = export_checkpoint(store, digest, str(tmp_path / "out" / "model.pth"))
    assert said == f"in this engine's own layout, as the published code has no {kind} with the image encoder compact"
    assert (tmp_path / "out" / "model.pth").read_bytes() == store.read_bytes(model_path(digest))
    assert import_model(other, tmp_path / "out" / "model.pth") == digest


@pytest.mark.usefixtures("published_at_micro_size")
def test_the_published_layout_wherever_it_holds_the_networks(
    shared_micro_store: MicroStore, other: Context, tmp_path: Path
) -> None:
    store, digest = shared_micro_store.store, shared_micro_store.policy
    files = [tmp_path / name for name in ("a.pth", "b.pth")]
    for file in files:
        assert export_checkpoint(store, digest, str(file)) == "in the published layout"
    assert files[0].read_bytes() == files[1].read_bytes()
    assert read_published(files[0]).kind == "hyponet"
    assert import_model(other, files[0]) == import_model(other, files[0], "raw") == digest


@pytest.mark.usefixtures("published_at_micro_size")
def test_what_a_published_file_said_of_its_training_is_said_again(other: Context, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(published_content(Policy(micro().policy), progress=Progress(7, 80, 36.9)), tmp_path / "given.pth")
    digest = import_model(other, tmp_path / "given.pth")
    export_checkpoint(other.store, digest, str(tmp_path / "back.pth"))
    assert read_published(tmp_path / "back.pth").facts == read_published(tmp_path / "given.pth").facts


def test_a_folder_for_hubs(shared_micro_store: MicroStore, other: Context, tmp_path: Path) -> None:
    store, digest = shared_micro_store.store, shared_micro_store.policy
    export_hub(store, digest, str(tmp_path / "hub"), "# A card\n")
    names = sorted(file.name for file in (tmp_path / "hub").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    assert (tmp_path / "hub" / "README.md").read_text() == "# A card\n"
    assert import_model(other, tmp_path / "hub") == digest
    assert import_model(other, tmp_path / "hub") == digest
    assert len(read(other.store, "models")) == 1
    assert find_model(other.store, digest[:8], "policy") == digest


def test_nothing_is_overwritten(shared_micro_store: MicroStore, tmp_path: Path) -> None:
    store, digest = shared_micro_store.store, shared_micro_store.policy
    (tmp_path / "policy.pth").write_text("mine")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "notes.txt").write_text("mine")
    for target in ("policy.pth", "hub"):
        with pytest.raises(DataError, match=rf"{target} is there already, and nothing is overwritten: name another"):
            export_checkpoint(store, digest, str(tmp_path / target))
    for target in ("policy.pth", "hub"):
        with pytest.raises(DataError, match=rf"something at .*{target} already"):
            export_hub(store, digest, str(tmp_path / target), "card")
    assert (tmp_path / "policy.pth").read_text() == (tmp_path / "hub" / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_comes_meanwhile_stays(tmp_path: Path) -> None:
    def write() -> None:
        with whole_file(str(tmp_path / "a"), replace=False) as file:
            file.write_text("ours")
            (tmp_path / "a").write_text("theirs")

    with pytest.raises(DataError, match="is there already"):
        write()
    assert (tmp_path / "a").read_text() == "theirs"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_model_goes_nowhere(micro_store: MicroStore, tmp_path: Path) -> None:
    store, digest = micro_store.store, micro_store.policy
    data = bytearray(store.read_bytes(model_path(digest)))
    data[len(data) // 2] ^= 16
    store.atomic_write(model_path(digest), bytes(data))
    for write in (export_checkpoint, lambda *given: export_hub(*given, "card")):
        with pytest.raises(DamagedError, match="is damaged"):
            write(store, digest, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
