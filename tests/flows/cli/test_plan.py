"""The plan asks the same specs as a run, and knows what can't be known yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.cli.plan import plan_round
from flows.run.dry import DryRunner, Pending
from flows.run.round import coming_round
from infra import rounds
from infra.stages import commit_rows
from infra.store import Store
from schemas.errors import EngineError
from schemas.profiles import micro
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Store.open(tmp_path / "store"), micro())


@dataclass(frozen=True)
class One(WholeStage):
    given: Any

    name = "one"

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {"given": str(self.given)}

    def make(self, context: Context) -> Rows:
        raise AssertionError("a plan works on nothing")


class Two(One):
    name = "two"


def verdicts(runner: DryRunner) -> list[tuple[str, str]]:
    return [(look.title, look.verdict) for look in runner.looks.values()]


def test_reuse_resume_run_and_what_waits(context: Context) -> None:
    runner = DryRunner(context)
    first = runner.run(One("a"))
    assert isinstance(runner.run(Two((first, {"deep": [first]}))), Pending)
    assert verdicts(runner) == [("one", "run"), ("two", "run")]

    commit_rows(context.store, One("a").spec(context), {})
    context.store.atomic_write(f"shards/{Two(One('a').key(context)).key(context)}/00000.json", b"{}")
    runner = DryRunner(context)
    first = runner.run(One("a"))
    assert first == One("a").key(context)
    runner.run(Two(first))
    runner.run(Two("b"))
    assert verdicts(runner) == [("one", "reuse"), ("two", "resume"), ("two", "run")]


def test_a_stage_in_two_roles_is_planned_once(context: Context) -> None:
    runner = DryRunner(context)
    for role in ("before", "first policy"):
        runner.run(Two(runner.run(One("a"))), role=role)
    assert verdicts(runner) == [("one", "run"), ("two (before)", "run")]


def test_an_empty_store_is_planned_whole_and_stays_empty(tmp_path: Path) -> None:
    imagined = Store(str(tmp_path / "nowhere"))
    plan = plan_round(Context(imagined, micro()))
    assert (plan.number, plan.resumed) == (1, False)
    assert {look.verdict for look in plan.looks} == {"run"}
    names = [look.title.split(" ")[0] for look in plan.looks]
    assert names[:4] == ["synthesize", "ingest", "train_base", "train_scorer"]
    assert names[-2:] == ["compare", "report"]
    assert not (tmp_path / "nowhere").exists()


def test_cleaning_rounds_are_planned_as_well(tmp_path: Path) -> None:
    plan = plan_round(Context(Store(str(tmp_path / "nowhere")), micro()), "clean")
    titles = [look.title for look in plan.looks]
    assert {"pseudo_label", "score_labels", "keep", "train_clean", "train_clean (all labels)"} <= set(titles)


def test_a_round_of_the_other_kind_is_finished_first(context: Context) -> None:
    rounds.begin(context.store, "micro", "f" * 64)
    rounds.open_round(context.store, "micro", 1, why="clean round")
    seen = rounds.state(context.store, "micro")
    assert coming_round(seen, "clean", "f" * 64) == ((1, "f" * 64, "f" * 64), True)
    with pytest.raises(EngineError, match=r"Round 1 of campaign micro is an unfinished clean round.*adhmr clean"):
        coming_round(seen, "dpo", "f" * 64)


def test_a_round_killed_after_its_promotion_still_starts_from_its_first_policy(context: Context) -> None:
    old, new = "a" * 64, "b" * 64
    rounds.begin(context.store, "micro", old)
    rounds.open_round(context.store, "micro", 1, why="dpo round")
    rounds.promote(context.store, "micro", 1, new, "all gates hold")
    opened, resumed = coming_round(rounds.state(context.store, "micro"), "dpo", old)
    assert resumed
    assert (opened.policy, opened.first) == (old, old)
    rounds.close_round(context.store, "micro", 1)
    opened, resumed = coming_round(rounds.state(context.store, "micro"), "dpo", old)
    assert (opened.number, opened.policy, opened.first, resumed) == (2, new, old, False)
