"""A round's facts reach whoever called its flow, whatever Prefect's server answers at its end."""

import re
import shlex
from pathlib import Path

import pytest
from prefect.exceptions import MissingResult
from prefect.states import Completed
from typer.testing import CliRunner

from flows.cli.main import app
from flows.run.round_artifacts import facts_of, outcome, report
from infra import rounds
from infra.store import Store
from schemas.profiles import micro
from tasks.engine.context import Context
from tasks.report.facts import RoundFacts
from tasks.report.stage import Report

FACTS = RoundFacts("dpo", "c", 1, "a" * 64, "b" * 64, "a" * 64, "s" * 64, (), promoted=True)


def answered_without_facts(decided: bool) -> RoundFacts:
    """What Prefect does with the state that its server knew already."""
    if decided:
        outcome(FACTS)
    return Completed(name="Promoted").result()


def test_the_answer_to_its_end_was_lost() -> None:
    assert facts_of(answered_without_facts, True) == FACTS


def test_facts_of_an_earlier_round_are_not_this_ones() -> None:
    outcome(FACTS)
    with pytest.raises(MissingResult):
        facts_of(answered_without_facts, False)


def test_the_report_is_named_by_a_command_that_finds_it_and_by_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Browsers follow no link from Prefect's pages to a file."""
    store, config = Store.open(tmp_path / "a store"), micro(campaign="c")
    rounds.open_round(store, "c", 1, "dpo round")
    Report(FACTS).run(Context(store, config, round=1, in_process=True))
    rounds.close_round(store, "c", 1)
    text = report(store, config, FACTS).data
    assert "](" not in text
    assert f"`{store.report_uri(FACTS.report_name)}`" in text
    (command,) = re.findall("`(adhmr .+?)`", text)
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda page: shown.append(page) or True)
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert shown == [Path(store.path(f"reports/{FACTS.report_name}")).as_uri()]
