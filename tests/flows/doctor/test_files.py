"""doctor --checkpoint and --body: what it says of files, good and bad."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

import flows.doctor.checkpoint
from flows.cli.main import app
from models.body_arrays import BUILT_IN
from models.checkpoints import opening
from models.checkpoints.export import Progress, published_content
from models.checkpoints.folder import write_folder
from models.checkpoints.ours import to_bytes
from models.policy import Policy
from schemas.config.networks import HypoNetConfig
from schemas.profiles import micro
from tests.models.hostile import Hostile


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words])


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def policy(**changes: int) -> Policy:
    torch.manual_seed(0)
    config = micro().policy
    hyponet = HypoNetConfig.model_validate({**config.hyponet.model_dump(), **changes})
    return Policy(config.model_copy(update={"hyponet": hyponet}))


@pytest.fixture
def at_micro_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published layout is the same at any size; its own takes seconds to make."""
    for module in (flows.doctor.checkpoint, opening):
        monkeypatch.setattr(module, "paper", micro)


def test_our_own_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(to_bytes("policy", policy().state_dict(), micro().policy, parents=["a" * 64]))
    answer = call("--checkpoint", str(path))
    assert answer.exit_code == 0
    said = lines(answer)
    assert said[0].startswith("good checkpoint: this engine's own policy ")
    assert said[0].endswith("parents aaaaaaaaaaaa")
    assert any(line.startswith("good HypoNet: 34 weights") and "1 blocks of width 16" in line for line in said)
    assert "good profile: micro" in said
    assert "good loads: all weights, names and shapes fit its configuration; no NaN" in said


def test_a_folder_of_a_hub(tmp_path: Path) -> None:
    write_folder(tmp_path, to_bytes("policy", policy().state_dict(), micro().policy, parents=["a" * 64]))
    answer = call("--checkpoint", str(tmp_path))
    assert answer.exit_code == 0, answer.output
    assert lines(answer)[0].startswith("good checkpoint: this engine's own policy ")
    (tmp_path / "config.json").unlink()
    answer = call("--checkpoint", str(tmp_path))
    assert answer.exit_code == 1
    assert "is a folder without config.json" in answer.stdout


def test_our_own_checkpoint_with_a_configuration_of_its_own(tmp_path: Path) -> None:
    other = policy(time_channels=32)
    path = tmp_path / "policy.safetensors"
    path.write_bytes(to_bytes("policy", other.state_dict(), other.config))
    answer = call("--checkpoint", str(path))
    assert answer.exit_code == 0
    assert "note profile: none as it is" in answer.stdout.replace("    ", " ")


@pytest.mark.slow
@pytest.mark.usefixtures("at_micro_size")
def test_a_published_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "adhmr.pth"
    progress = Progress(epoch=3, step=40, min_mpjpe_h36m=36.9, min_mpjpe_pw3d=57.2, num_updates=3150)
    torch.save(published_content(policy(), progress=progress), path)
    answer = call("--checkpoint", str(path))
    assert answer.exit_code == 0, answer.output
    said = lines(answer)
    assert said[0].startswith("good checkpoint: ADHMR or ScoreHypo checkpoint (HypoNet and its condition network)")
    assert said[0].endswith("epoch 3, step 40, min_mpjpe_h36m 36.9, min_mpjpe_pw3d 57.2")
    assert "good moving average: HypoNet: 3,150 updates, decay 0.9999, 34 parameters" in said
    assert any("with the moving averages" in line and "HypoNet 34 of 34" in line for line in said)
    assert said[-1] == "good profile: paper"


@pytest.mark.slow
@pytest.mark.usefixtures("at_micro_size")
def test_a_published_checkpoint_of_other_sizes(tmp_path: Path) -> None:
    path = tmp_path / "adhmr.pth"
    torch.save(published_content(policy(time_channels=32)), path)
    answer = call("--checkpoint", str(path))
    assert answer.exit_code == 1
    said = lines(answer)
    assert any(line.startswith(f"PROBLEM loads: {path}, hyponet does not fit HypoNet as configured") for line in said)
    assert "shape temb_dense.0.weight is (128, 32), expected (64, 16)" in said
    assert said[-1].startswith("PROBLEM profile: none")


@pytest.mark.usefixtures("at_micro_size")
def test_a_published_checkpoint_with_nan(tmp_path: Path) -> None:
    broken = published_content(policy())
    broken["model"]["temb_dense.0.bias"] = broken["model"]["temb_dense.0.bias"] * float("nan")
    torch.save(broken, tmp_path / "adhmr.pth")
    answer = call("--checkpoint", str(tmp_path / "adhmr.pth"))
    assert answer.exit_code == 1
    assert "the first: temb_dense.0.bias" in answer.stdout


def test_a_checkpoint_that_runs_programs(tmp_path: Path) -> None:
    torch.save({"model": Hostile(tmp_path / "ran")}, tmp_path / "gift.pth")
    answer = call("--checkpoint", str(tmp_path / "gift.pth"))
    assert answer.exit_code == 1
    assert "gift.pth was refused" in answer.stdout
    assert "os.system" in answer.stdout
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "said"), [("nowhere.pth", "is not there"), (".", "is a folder without model.safetensors")]
)
def test_no_checkpoint_at_all(name: str, said: str, tmp_path: Path) -> None:
    answer = call("--checkpoint", str(tmp_path / name))
    assert answer.exit_code == 1
    assert said in answer.stdout


def test_a_folder_of_bodies(tmp_path: Path) -> None:
    folder = tmp_path / "human_model_files" / "smpl"
    folder.mkdir(parents=True)
    shutil.copy(BUILT_IN["tiny"], folder / "SMPL_NEUTRAL.npz")
    answer = call("--body", str(tmp_path))
    assert answer.exit_code == 0, answer.output
    said = lines(answer)
    assert said[0].startswith(f"good SMPL neutral: {folder / 'SMPL_NEUTRAL.npz'}")
    assert said[0].endswith("1,229 vertices")
    assert sum(line.startswith("note ") and "not there" in line for line in said) == len(said) - 1 == 8
    (folder / "SMPL_MALE.pkl").write_bytes(pickle.dumps(Hostile(tmp_path / "ran"), protocol=2))
    answer = call("--body", str(tmp_path))
    assert answer.exit_code == 1
    assert "PROBLEM SMPL male" in answer.stdout
    assert "posix.system" in answer.stdout or "nt.system" in answer.stdout
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_bodies(tmp_path: Path) -> None:
    answer = call("--body", str(tmp_path))
    assert answer.exit_code == 1
    assert f"{tmp_path} has none of them" in answer.stdout
    answer = call("--body", str(tmp_path / "nowhere"))
    assert answer.exit_code == 1
    assert "there is no folder" in answer.stdout
