"""`adhmr config`: every field with its origin, and a campaign file that reads as the same configuration."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flows.cli.campaign_text import campaign_text
from flows.cli.main import app
from flows.run.campaign.file import read_campaign_file
from schemas.config.engine import EngineConfig
from schemas.fields import fields
from schemas.layers import assemble
from schemas.profiles import PROFILES, tiny
from tests.profiles import load_profile

FIELDS = [field for field in fields(tiny()) if type(field.value) in (int, float) and field.section]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PROFILE", "CAMPAIGN", "SEED", "SET", "CONFIG"):
        monkeypatch.delenv(f"ADHMR_{name}", raising=False)


def call(*words: str) -> str:
    ended = CliRunner().invoke(app, ["config", *words])
    assert ended.exit_code == 0, ended.output
    return ended.output


def read_again(config: EngineConfig, tmp_path: Path) -> EngineConfig:
    file = tmp_path / "campaign.yaml"
    file.write_text(campaign_text(config, file.name), "utf-8")
    return assemble(read_campaign_file(str(file)).settings).config


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_as_a_file(profile: str, tmp_path: Path) -> None:
    config = PROFILES[profile](seed=4, campaign="mine")
    assert read_again(config, tmp_path) == config
    text = (tmp_path / "campaign.yaml").read_text("utf-8")
    assert max(map(len, text.splitlines())) <= 120
    in_force = [line for line in text.splitlines() if re.match(r" *[a-z_0-9]+: .", line)]
    assert [line.partition(":")[0] for line in in_force] == [
        "profile",
        "campaign",
        "seed",
        "body",
        "root_solver",
        "data",
        "tracking",
    ]


def test_every_line_that_is_a_comment_can_be_put_in_force(tmp_path: Path) -> None:
    """What `remove the mark` promises: each commented value is YAML in its place, and all of them are the profile."""
    text = campaign_text(tiny(), "campaign.yaml")
    text = re.sub(r"^( *)# ([a-z_0-9]+: \S.*)$", r"\1\2", text, flags=re.MULTILINE)
    (file := tmp_path / "all.yaml").write_text(text, "utf-8")
    read = read_campaign_file(str(file)).settings
    assert {setting.field for setting in read if setting.value is not None} >= {
        field.name for field in fields(tiny()) if field.value is not None
    }
    assert assemble(read).config == tiny()


@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.floats(0.5, 2)), max_size=5))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changes_survive(tmp_path: Path, changes: list[tuple[object, float]]) -> None:
    named = {field.name: type(field.value)(field.value * factor) for field, factor in changes}  # type: ignore[attr-defined]
    try:
        config = load_profile("tiny", changes=named)
    except Exception:  # noqa: BLE001 - a value out of its limits is another test's matter
        return
    assert read_again(config, tmp_path) == config


def test_the_command_writes_a_file_that_it_reads(tmp_path: Path) -> None:
    said = call("--profile", "micro", "--set", "align.beta=7", "--write", "mine.yaml")
    assert "adhmr run --config mine.yaml" in said
    in_file = yaml.safe_load((tmp_path / "mine.yaml").read_text("utf-8"))
    assert {name: value for name, value in in_file["align"].items() if value is not None} == {"beta": 7.0}
    listed = call("--config", "mine.yaml", "--changed")
    assert re.search(r"^align.beta = 7.0 +mine.yaml line \d+$", listed, re.MULTILINE)
    assert call("--config", "mine.yaml", "--changed", "pair") == "Nothing of pair differs from the profile micro.\n"
    assert call("--changed") == "Nothing differs from the profile tiny.\n"
    ended = CliRunner().invoke(app, ["config", "--write", "mine.yaml"])
    assert ended.exit_code == 2
    assert "mine.yaml is there already" in ended.output
    ended = CliRunner().invoke(app, ["config", "align", "--write", "other.yaml"])
    assert ended.exit_code == 2
    ended = CliRunner().invoke(app, ["config", "--write", "none/mine.yaml"])
    assert ended.exit_code == 2
    assert "can't be written" in ended.output


def test_the_list_has_every_field_with_origin_meaning_unit_and_limits() -> None:
    listed = call("--seed", "3")
    for field in fields(tiny()):
        assert f"\n{field.name} = " in f"\n{listed}"
    assert "seed = 3  --seed\n" in listed
    assert f"align.beta = {tiny().align.beta}  profile tiny\n" in listed
    part = call("train_clean")
    assert {line.split(" ")[0].partition(".")[0] for line in part.splitlines() if not line.startswith(" ")} == {
        "train_clean"
    }
    one = call("generate.hypotheses")
    assert len([line for line in one.splitlines() if not line.startswith(" ")]) == 1
    assert "[hypotheses]; at least 2" in " ".join(one.split())
    ended = CliRunner().invoke(app, ["config", "algn"])
    assert ended.exit_code == 2
    assert "There is no section or field 'algn'; there are align, clean" in ended.output
