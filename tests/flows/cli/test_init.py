"""`adhmr init` and `adhmr --version`: what whoever has a wheel alone begins with."""

import re
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
    campaign = laid.pop("campaign.yaml").decode()
    assert laid == {file.name: file.read_bytes() for file in DEPLOY.iterdir()}
    assert "\nprofile: tiny\n" in campaign
    assert {"prefect.yaml", "prefect.toml", "compose.yaml", "Dockerfile", "kuberay.yaml"} <= set(laid)
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


def test_the_campaign_file_says_what_a_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is the default; and changed, its fields with their lines."""
    CliRunner().invoke(app, ["init", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["config", "--config", "campaign.yaml", "align", "--changed"]).output
    assert said == "Nothing of align differs from the profile tiny.\n"
    file = tmp_path / "campaign.yaml"
    text = file.read_text("utf-8")
    assert text.count("\n  # beta: 10.0\n") == 1
    file.write_text(text.replace("\n  # beta: 10.0\n", "\n  beta: 30\n"), "utf-8")
    assert (
        "align.beta = 30.0  campaign.yaml line "
        in CliRunner().invoke(app, ["config", "align.beta"], env={"ADHMR_CONFIG": "campaign.yaml"}).output
    )
    file.write_text(text.replace("\n  # beta: 10.0\n", "\n  betta: 30\n"), "utf-8")
    for command in ("plan", "run", "clean", "evaluate", "report"):
        ended = CliRunner().invoke(app, [command, "--config", "campaign.yaml"])
        assert ended.exit_code == 2, command
        assert re.search(r"campaign.yaml line \d+: There is no configuration field 'align.betta'", ended.output) or (
            command == "report" and "There is no store" in ended.output
        )


@pytest.mark.parametrize("words", [["--version"], ["--version", "run"]])
def test_version(words: list[str]) -> None:
    ended = CliRunner().invoke(app, words)
    assert (ended.exit_code, ended.output) == (0, f"adhmr-engine {version('adhmr-engine')}\n")
