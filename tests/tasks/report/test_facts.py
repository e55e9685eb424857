"""The facts of a round survive the way to the store and back, and the page says what could not be measured."""

import math
from pathlib import Path

import pytest

from infra.store import Store
from schemas.errors import StoreError
from schemas.profiles import micro
from tasks.engine.context import Context
from tasks.gates import GateVerdict
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.stage import Report, read_facts

A, B = "a" * 64, "b" * 64


def facts(**changes: object) -> RoundFacts:
    verdict = GateVerdict("mean margin", "before training", math.nan, "score", "at least 0.02", False, math.nan, None)
    plain = {
        "kind": "dpo",
        "campaign": "micro",
        "number": 1,
        "policy_before": A,
        "policy_after": None,
        "reference": A,
        "scorer": B,
        "runs": (StageRun("pair", "", B, "stopped"),),
        "verdicts": (verdict,),
        "why": "mean margin did not pass",
    }
    return RoundFacts(**{**plain, **changes})  # type: ignore[arg-type]


def test_there_and_back_even_with_numbers_that_are_none(tmp_path: Path) -> None:
    context = Context(Store.open(tmp_path / "store"), micro())
    first = Report(facts()).run(context)
    assert not first.reused
    again = read_facts(context.store, "micro", 1)
    assert math.isnan(again.verdicts[0].value)
    assert (again.runs, again.why, again.promoted) == (facts().runs, facts().why, False)
    page = context.store.read_bytes("reports/micro-round-1.html").decode()
    assert "No policy was trained" in page
    assert "not measured" in page


def test_a_page_is_written_once_and_again_if_somebody_removed_it(tmp_path: Path) -> None:
    context = Context(Store.open(tmp_path / "store"), micro())
    Report(facts()).run(context)
    assert Report(facts()).run(context).reused
    context.store.remove("reports/micro-round-1.html")
    assert not Report(facts()).run(context).reused
    assert context.store.exists("reports/micro-round-1.html")


def test_no_report(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no report of round 3 of campaign micro"):
        read_facts(Store.open(tmp_path / "store"), "micro", 3)


def test_a_stage_in_two_roles_stands_once() -> None:
    runs = (StageRun("evaluate", "first policy", A, "run"), StageRun("evaluate", "before", A, "reused"))
    assert facts(runs=runs).distinct_runs() == [StageRun("evaluate", "before", A, "run")]
    assert facts(runs=runs).key("evaluate", "first policy") == A
    assert facts(runs=runs).key("align") is None


def test_a_round_in_legs_has_the_pairs_of_all_of_them() -> None:
    names = [
        ("pair", ""),
        ("pair", "random pairs"),
        ("pair", "leg 2"),
        ("pair", "random pairs, leg 2"),
        ("align", "leg 2"),
    ]
    names += [("evaluate", "after"), ("review", "round 1")]
    round_ = facts(runs=tuple(StageRun(name, role, f"{name} {role}", "run") for name, role in names))
    first, second = round_.legs()
    assert [run.role for run in second.runs] == ["", "random pairs", ""]
    assert (first.key("pair"), second.key("pair")) == ("pair ", "pair leg 2")
    assert (first.key("evaluate", "after"), second.key("evaluate", "after")) == ("evaluate after", None)
    assert round_.own_pairs() == ["pair ", "pair leg 2"]
    assert round_.trained_pairs() == ["pair ", "pair leg 2", "review round 1"]


def test_facts_that_are_not_as_they_were_written_are_refused(tmp_path: Path) -> None:
    context = Context(Store.open(tmp_path / "store"), micro())
    Report(facts(promoted=False)).run(context)
    path = tmp_path / "store/reports/micro-round-1.json"
    text = path.read_text()
    path.write_text(text.replace('"number":1', '"number":3'))
    with pytest.raises(StoreError, match=r"micro-round-1.json is damaged: its fields do not have the digest"):
        read_facts(context.store, "micro", 1)
    path.write_text(text.replace(text[text.index(',"sha256"') : text.index(',"verdicts"')], ""))
    assert read_facts(context.store, "micro", 1).number == 1  # as older versions wrote it
