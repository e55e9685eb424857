"""A model as a folder for hubs: there and back, and refused where its files don't belong together."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from models.checkpoints.export import not_published
from models.checkpoints.folder import read_ours, write_folder
from models.checkpoints.ours import from_bytes, to_bytes
from models.policy import Policy
from schemas.errors import DamagedError, DataError
from schemas.profiles import micro, paper, scorehypo_scorer

CONFIG = micro().policy
PARENT = "a" * 64


@pytest.fixture
def data() -> bytes:
    torch.manual_seed(0)
    return to_bytes("policy", Policy(CONFIG).state_dict(), CONFIG, [PARENT], {"training_steps": 6.0})


@pytest.fixture
def folder(data: bytes, tmp_path: Path) -> Path:
    write_folder(tmp_path, data)
    return tmp_path


def test_there_and_back(folder: Path, data: bytes) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert read_ours(folder).manifest == read_ours(folder / "model.safetensors").manifest == from_bytes(data).manifest
    about = json.loads((folder / "config.json").read_text())
    assert (about["kind"], about["parents"]) == ("policy", [PARENT])
    assert about["config"] == CONFIG.model_dump(mode="json")


def test_weights_that_another_tool_wrote_anew_are_told_by_config_json(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(save(load(data)))
    assert read_ours(folder).manifest == from_bytes(data).manifest
    with pytest.raises(DamagedError, match="without a manifest"):
        read_ours(folder / "model.safetensors")


def test_files_that_do_not_belong_together_are_refused(folder: Path) -> None:
    torch.manual_seed(1)
    other = to_bytes("policy", Policy(CONFIG).state_dict(), CONFIG)
    (folder / "model.safetensors").write_bytes(other)
    with pytest.raises(DamagedError, match="its weights have digest"):
        read_ours(folder)


def test_a_config_that_was_edited_is_refused(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"eta": 0.0', '"eta": 0.5'))
    with pytest.raises(DamagedError, match="its manifest does not have the digest that it says"):
        read_ours(folder)
    (folder / "config.json").write_bytes(b"\xff no json")
    with pytest.raises(DamagedError, match="its manifest can't be read"):
        read_ours(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_not_there(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"is a folder without {name}: give the file of a checkpoint"):
        read_ours(folder)


def test_weights_without_a_manifest_are_not_written(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no manifest"):
        write_folder(tmp_path, save(load(data)))
    assert not list(tmp_path.iterdir())


def test_which_networks_a_published_file_can_hold() -> None:
    of_paper = paper()
    large = of_paper.scorer.condition.model_copy(update={"kind": "vit_l"})
    published = [of_paper.policy, of_paper.scorer, scorehypo_scorer()]
    for config in [*published, of_paper.scorer.model_copy(update={"condition": large})]:
        assert not_published(config) == ""
    assert not_published(CONFIG) == "the published code has no policy with the image encoder compact"
    assert not_published(micro().scorer) == "the published code has no scorer with the image encoder compact"
    quick = of_paper.policy.diffusion.model_copy(update={"sampler_steps": (999, 0)})
    said = not_published(of_paper.policy.model_copy(update={"diffusion": quick}))
    assert said == "the published code has no policy with diffusion.sampler_steps=[999, 0]"
