"""The commands campaign and study, as they are typed: campaigns end in a table, wrong words in one line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import flows.run.session
from flows.cli.commands import rounds as rounds_commands
from flows.cli.commands import study as study_command
from flows.cli.main import app
from infra import rounds
from infra.store import Store
from tests.faults.chain import CONFIG as SMALL
from tests.flows.cli.test_json import first_fields, listed
from tests.prefect_server import PrefectServer

CHANGES = [
    word
    for name in ("source_train", "source_test", "scorer_train", "wild_train", "wild_validation", "wild_test")
    for word in ("--set", f"synthesize.{name}={getattr(SMALL.synthesize, name)}")
]
GATES = ("gates.max_drift=1000", "gates.best_of_m_change=1000")
FIELDS = ("generate.hypotheses=3", "evaluate.generate.hypotheses=3", *GATES)
CHANGES += ["--profile", "micro", *(word for field in FIELDS for word in ("--set", field))]


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def harness(prefect_server: PrefectServer) -> Iterator[None]:
    with prefect_server.used():
        yield


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.run.session, "IN_PROCESS", True)
    for commands in (rounds_commands, study_command):
        monkeypatch.setattr(commands, "begin_server", lambda: lambda: None)


@pytest.mark.slow
@pytest.mark.usefixtures("harness", "in_process")
def test_a_campaign_and_a_study_on_its_store(tmp_path: Path) -> None:
    store = ["--store", str(tmp_path / "store")]
    first = call("campaign", *CHANGES, *store, "--rounds", "1")
    assert first.exit_code == 0, first.output
    again = call("campaign", *CHANGES, *store, "--rounds", "1")
    assert again.exit_code == 0, again.output
    assert again.stdout == first.stdout  # it had ended, and nothing more is done
    lines = first.stdout.splitlines()
    assert "Campaign micro ends: 1 rounds are done (rounds.count=1)." in lines
    assert ["1", "dpo"] in [line.split()[:2] for line in lines]
    assert all(len(line) <= 80 for line in lines if line.startswith(("round", "1 ", "all")))
    assert rounds.state(Store.open(tmp_path / "store"), "micro").round == 1

    study = tmp_path / "mine.yaml"
    study.write_text("cells: [{name: dpo, set: {align.objective: dpo}}]\nequal: steps\nseeds: [0]\n")
    planned = call("study", "--preset", str(study), *CHANGES, *store, "--plan")
    assert planned.exit_code == 0, planned.output
    assert "1 cells and 0 controls, 1 seeds" in planned.stderr
    assert not planned.stdout
    done = call("study", "--preset", str(study), *CHANGES, *store, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "Winner: dpo" in done.stdout or "No cell wins" in done.stdout
    document = call("study", "--preset", str(study), *CHANGES, *store, "--json")
    plain = json.loads(document.stdout)
    assert plain["study"]["name"] == "mine"
    assert plain.keys() - {"command"} == first_fields(listed("study"))
    assert (tmp_path / "out" / "study.md").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--preset", "objectivs"), "There is no study 'objectivs': there are objectives, strategies, strength"),
        (("--seeds", "1,x"), "--seeds 1,x: whole numbers separated by commas"),
        (("--seeds", "1,1"), "seeds must name at least one"),
        (("--set", "sources.validation=[]"), "A study is measured on sources.validation"),
        (("--set", "align.legs=2", "--set", "align.optimiser.steps=6"), "trained in one leg"),
    ],
)
def test_wrong_words_for_a_study(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    answer = call("study", "--profile", "micro", *words, "--store", str(tmp_path / "store"))
    assert answer.exit_code == 2, answer.output
    (line,) = answer.stderr.strip().splitlines()
    assert said in line


def test_a_file_that_is_no_study(tmp_path: Path) -> None:
    for text, said in (("- a", "holds no study"), ("cells: [{name: A}]", "cells.0.name"), ("a: [", "can't be read")):
        file = tmp_path / "mine.yaml"
        file.write_text(text)
        answer = call("study", "--preset", str(file), "--store", str(tmp_path / "store"))
        assert answer.exit_code == 2, answer.output
        assert said in answer.stderr
