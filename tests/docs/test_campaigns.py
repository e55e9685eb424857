"""The campaign files that come with the project: each is one, is explained, and names data that can be taken in."""

import shutil
from pathlib import Path

import pytest
import yaml

from flows.run.campaign.file import read_campaign_file
from flows.run.campaign.people import find_people
from flows.run.configuration import Choices
from flows.run.dry import DryRunner
from flows.run.ingest_request import request
from infra.store import Store
from schemas.config.sources import ROLES
from schemas.errors import ConfigError
from schemas.profiles import PROFILES
from schemas.splits import SYNTHETIC
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.formats.registry import checked_options, format_named
from tasks.rows.instances import labelled_crops
from tests.samples.bodies import write_bodies
from tests.samples.truth import true_people

FOLDER = Path(__file__).resolve().parents[2] / "campaigns"
FILES = sorted(FOLDER.glob("*.yaml"))

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PROFILE", "CAMPAIGN", "SEED", "SET", "CONFIG"):
        monkeypatch.delenv(f"ADHMR_{name}", raising=False)


def test_they_are_there() -> None:
    assert {file.stem for file in FILES} >= {"tiny", "photographs", "paper-3dpw", "paper-h36m", "foreign-model"}


@each_file
def test_it_is_a_campaign_and_says_how_it_is_used(file: Path) -> None:
    config = Choices(config=str(file)).configured().config
    lines = file.read_text("utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= 120
    assert f"#   adhmr run --config campaigns/{file.name}" in lines
    assert len(read_campaign_file(str(file)).settings) >= 3
    wanted = set(config.sources.targets(*ROLES)) - set(SYNTHETIC)
    assert wanted == {data.target for data in config.data}, "a run from nothing has all that it needs"
    for data in config.data:
        kind = format_named(data.format)
        assert kind.brought(data.options) in ("people", "pictures")
        checked_options(kind, data.options)


def test_the_lines_for_a_judge_are_a_campaign_without_labels(tmp_path: Path) -> None:
    text = (FOLDER / "photographs.yaml").read_text("utf-8")
    for line in ("  # validation: []", "# start: {judge: train}", "  # without_labels: judge"):
        assert f"\n{line}\n" in text
        text = text.replace(line, line.replace("# ", "", 1))
    (file := tmp_path / "judged.yaml").write_text(text, "utf-8")
    assert Choices(config=str(file)).configured().config.is_judged


def test_the_default_is_written_out_as_it_is() -> None:
    assert Choices(config=str(FOLDER / "tiny.yaml")).configured().config == PROFILES["tiny"]()


@pytest.mark.slow
def test_the_people_of_another_model_are_who_is_trained_on(tmp_path: Path) -> None:
    """The file as it is, beside a table and photographs, with the free body in place of published ones."""
    people = true_people(3)
    write_bodies(people, tmp_path / "photographs", hypotheses=1)
    shutil.move(tmp_path / "photographs" / "bodies.parquet", tmp_path / "bodies.parquet")
    said = yaml.safe_load((FOLDER / "foreign-model.yaml").read_text("utf-8")) | {"profile": "micro"}
    said["data"][0]["body"] = "tiny"
    runner = DryRunner(
        Context(Store.open(tmp_path / "store"), Choices(config=said).configured().config, in_process=True)
    )
    find_people(runner)
    assert ("ingest (theirs/train)", "run") in [(look.title, look.verdict) for look in runner.looks.values()]
    (data,) = runner.context.config.data
    asked = request(data.format, data.source, *data.target, data.every, data.images, data.body, data.options)
    key = IngestAnnotations(asked.source, asked.bodies).run(runner.context).key
    found = find_people(runner)
    assert found.labelled.ingests == found.wild.ingests == (key,)
    assert len(labelled_crops(runner.context.store, found.labelled).crops) == 3
    del said["data"][0]["options"]
    runner = DryRunner(
        Context(Store.open(tmp_path / "other"), Choices(config=said).configured().config, in_process=True)
    )
    with pytest.raises(ConfigError, match=r"brings bodies; as labels \(options: \{as: labels\}\) it brings people"):
        find_people(runner)
