"""--json of every command that reads: one document, nothing beside it, and the fields that docs/json.md lists."""

import json
import re
import webbrowser
from pathlib import Path
from typing import Any
from urllib.request import url2pathname
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner

from flows.cli.documents import plain
from flows.cli.main import COMMANDS, app
from infra.stages import records
from infra.store import Store
from schemas.config.engine import EngineConfig
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.stage import _facts_path, _to_json
from tasks.review.worklist import find_pairs, pairs_of_round, sample, say
from tests.earlier.make_store import ARCHIVE, CONFIGURATION

ROOT = Path(__file__).resolve().parents[3]
READING = {
    "status": (),
    "rounds": (),
    "plan": ("--config", CONFIGURATION),
    "report": ("--round", "1", "--config", CONFIGURATION),
    "compare": ("round-1", "--config", CONFIGURATION),
    "config": ("--config", CONFIGURATION, "--set", "align.beta=11"),
    "query": (
        "SELECT 1 AS one, 'x' AS one, CAST('NaN' AS DOUBLE) AS nothing, now() AS at, crop FROM instances LIMIT 2",
    ),
    "doctor": (),
    "review": ("--sample", "uncertain", "3"),
    "vacuum": (),
    "repair": ("--dry-run",),
}
WITHOUT_STORE = ("config",)
ELSEWHERE = "study"
"""It works before it answers: `tests/flows/cli/test_campaign_and_study.py`."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a round of each kind behind it, the first with a report and reviews, and their configuration."""
    place = tmp_path_factory.mktemp("json")
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(place)
    store, config = Store.open(place / "store"), EngineConfig.model_validate_json((place / CONFIGURATION).read_bytes())
    ran = tuple(StageRun(one.stage, "", one.stage_key, "run") for one in records(store, "compare") if one.round == 1)
    models = dict.fromkeys(("policy_before", "policy_after", "reference", "scorer"), "0" * 64)
    facts = RoundFacts(kind="dpo", campaign=config.campaign, number=1, runs=ran, **models)
    store.atomic_write(_facts_path(config.campaign, 1), _to_json(facts, config))
    store.atomic_write(f"reports/{facts.report_name}", b"a page")
    made = pairs_of_round(store, config.campaign)
    (digest,) = sample(store, made.stage_key, "random", 1).column("pair").to_pylist()
    pair = find_pairs(store, [digest])[digest]
    assert not isinstance(pair, str)
    for name in ("anna", "ben"):
        assert say(store, pair, name, "swap", "")
    return place


@pytest.fixture(scope="module")
def written(folder: Path) -> dict[str, dict[str, Any]]:
    """The documents, by their commands."""
    documents = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command, words in READING.items():
            store = () if command in WITHOUT_STORE else ("--store", "store")
            answer = CliRunner().invoke(app, [command, *words, *store, "--json"])
            assert answer.exit_code in (0, 1), (command, answer.output)
            documents[command] = json.loads(answer.stdout)
    return documents


def listed(command: str) -> str:
    page = (ROOT / "docs/json.md").read_text("utf-8")
    (section,) = re.findall(rf"^## `adhmr {command}`$\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return str(section)


def first_fields(section: str) -> set[str]:
    """The fields that a section of the page lists in the first column of its table."""
    return {
        name
        for row in section.splitlines()
        for name in re.findall(r"`(\w+)(?:\[\])?`", row.split("|")[1] if "|" in row else "")
    }


@pytest.mark.slow
@pytest.mark.parametrize("command", READING)
def test_a_document_has_the_fields_that_the_page_lists(command: str, written: dict[str, dict[str, Any]]) -> None:
    document, section = written[command], listed(command)
    assert document.pop("command") == command
    assert document.keys() == first_fields(section)
    words = set(re.findall(r"`(\w+)(?:\[\])?`", section))
    for name, value in document.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and name != "reviewers":
            assert inner.keys() <= words, (command, name)


@pytest.mark.slow
def test_documents_say_what_the_commands_say(written: dict[str, dict[str, Any]]) -> None:
    assert [row["event"] for row in written["rounds"]["events"]][:2] == ["promoted", "opened"]
    assert {row["verdict"] for row in written["plan"]["stages"]} <= {"reuse", "resume", "run"}
    said = [row for row in written["config"]["fields"] if row["said"]]
    assert ("align.beta", 11, "--set") in [(row["name"], row["value"], row["said"]) for row in said]
    query = written["query"]
    assert [column["name"] for column in query["columns"]] == ["one", "one", "nothing", "at", "crop"]
    assert query["rows"][0][:3] == [1, "x", None]
    review = written["review"]
    assert (review["judged"], review["swapped"], len(review["sample"])) == (1, 1, 3)
    assert review["agreement"]["share"] == 1


def test_every_command_that_has_the_option_is_here(folder: Path) -> None:
    helps = {name: CliRunner().invoke(app, [name, "--help"]).output for name in COMMANDS}
    assert {name for name, text in helps.items() if "--json" in text} == {*READING, ELSEWHERE}


@pytest.mark.slow
@pytest.mark.parametrize("there_is_one", [True, False])
def test_the_page_of_a_report_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch, there_is_one: bool) -> None:
    opened: list[str] = []
    monkeypatch.chdir(folder)
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or there_is_one)
    answer = CliRunner().invoke(app, ["report", "--store", "store", *READING["report"], "--json", "--open"])
    assert answer.exit_code == 0, answer.output
    (page,) = opened
    assert Path(url2pathname(page.removeprefix("file://"))).read_bytes() == b"a page"
    assert json.loads(answer.stdout)["page"] in page
    assert ("no browser could be opened; the page is" in answer.stderr) is not there_is_one


def test_an_error_is_a_line_on_standard_error_and_no_document(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["status", "--json", "--store", str(tmp_path / "nowhere")])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "There is no store" in answer.stderr


def test_values_that_json_does_not_know() -> None:
    assert plain({"a": float("inf"), 1: (b"\x00", {2}), "b": 1.5}) == {"a": None, "1": ["AA==", [2]], "b": 1.5}
