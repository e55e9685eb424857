"""`adhmr init` and `adhmr --version`: what whoever has a wheel alone begins with."""

import os
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli.main import app

DEPLOY = Path(__file__).resolve().parents[3] / "infra/deploy"


def test_a_folder_gets_all_files_as_they_are_shipped(tmp_path: Path) -> None:
    there = tmp_path / "new/folder"
    ended = CliRunner().invoke(app, ["init", str(there)])
    assert ended.exit_code == 0, ended.output
    assert len(ended.output.splitlines()) == 1
    laid = {file.name: file.read_bytes() for file in there.iterdir()}
    assert laid == {file.name: file.read_bytes() for file in DEPLOY.iterdir()}
    assert {"prefect.yaml", "prefect.toml", "campaign.env", "compose.yaml", "Dockerfile", "kuberay.yaml"} <= set(laid)
    for one in yaml.safe_load(laid["prefect.yaml"])["deployments"]:
        assert "/" not in one["entrypoint"], "the path of a file, which an installed package doesn't have"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("mine")
    (tmp_path / "adhmr-store").mkdir()
    ended = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert ended.exit_code == 2
    assert f"{tmp_path} holds compose.yaml already" in ended.output
    assert sorted(file.name for file in tmp_path.iterdir()) == ["adhmr-store", "compose.yaml"]
    (tmp_path / "compose.yaml").unlink()
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0, "what else is there is in nobody's way"


def test_what_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        ended = CliRunner().invoke(app, ["init", str(place)])
        assert ended.exit_code == 2
        assert f"{place} can't take the files" in ended.output


def test_the_campaign_file_stands_for_the_options_of_a_command(tmp_path: Path) -> None:
    """As a shell takes it: a plan of the campaign that the file names, changed fields included."""
    CliRunner().invoke(app, ["init", str(tmp_path)])
    file = tmp_path / "campaign.env"
    changed = {"ADHMR_SET=": 'ADHMR_SET="align.beta=30 alig.anchor=1"', "ADHMR_SEED=0": "ADHMR_SEED=3"}
    text = file.read_text("utf-8")
    for old, new in changed.items():
        assert text.count(f"\n{old}\n") == 1
        text = text.replace(f"\n{old}\n", f"\n{new}\n")
    file.write_text(text, "utf-8")
    script = "set -a; . ./campaign.env; set +a; env"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ADHMR")}
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, env=plain, capture_output=True, text=True, check=True)
    given = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("ADHMR_"))
    assert given == {
        "ADHMR_STORE": "./adhmr-store",
        "ADHMR_PROFILE": "tiny",
        "ADHMR_SET": "align.beta=30 alig.anchor=1",
        "ADHMR_CAMPAIGN": "default",
        "ADHMR_SEED": "3",
    }
    ended = CliRunner().invoke(app, ["plan"], env={**given, "ADHMR_STORE": str(tmp_path / "store")})
    assert ended.exit_code == 2
    assert "There is no configuration field 'alig.anchor'" in ended.output
    ended = CliRunner().invoke(app, ["plan"], env={**given, "ADHMR_SET": "", "ADHMR_CAMPAIGN": "No name"})
    assert "campaign" in ended.output
    assert ended.exit_code == 2


@pytest.mark.parametrize("words", [["--version"], ["--version", "run"]])
def test_version(words: list[str]) -> None:
    ended = CliRunner().invoke(app, words)
    assert (ended.exit_code, ended.output) == (0, f"adhmr-engine {version('adhmr-engine')}\n")
