"""A cleaning round whose filter keeps nothing: it ends by a gate, and a control without labels is left out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.order.clean import clean_and_measure
from flows.order.foundations import lay_foundations
from flows.run.campaign.people import People
from flows.run.decision.gates import of_kept_labels, why_none_kept
from flows.run.round import Candidate, Foundations, Round, work_through
from infra import rounds
from infra.store import Store
from schemas.ids import ModelDigest, StageKey, Target
from tasks.engine.context import Context
from tasks.gates import gates_of_kept_labels
from tasks.report.facts import RoundFacts
from tasks.stages.clean import Keep
from tests.faults.chain import CONFIG as SMALL
from tests.faults.chain import Walk
from tests.flows.order.test_campaign import Short
from tests.flows.order.test_legs import WILD, Recorder
from tests.profiles import load_profile


class Filtering(Recorder):
    """Keeps no label in the stages named, and some in others."""

    def __init__(self, context: Context, empty: Sequence[str]) -> None:
        super().__init__(context)
        self.empty = empty

    def judge(self, gates: Callable[..., Sequence[Any]], *inputs: Any) -> tuple[Any, ...]:
        if gates is of_kept_labels:
            return gates_of_kept_labels(0 if inputs[1] in self.empty else 5, "")
        return super().judge(gates, *inputs)

    def look_up(self, find_out: Callable[..., Any], *inputs: Any, otherwise: Any) -> Any:
        if find_out is why_none_kept:
            return "None of 5 labels passes." if inputs[1] in self.empty else ""
        return super().look_up(find_out, *inputs, otherwise=otherwise)


def cleaned(folder: Path, *empty: str) -> tuple[Filtering, Candidate]:
    changes = {"clean.label": "best_of_m", "clean.controls": ["random_labels", "own_labels"]}
    runner = Filtering(Context(Store.open(folder / "store"), load_profile("micro", changes=changes)), empty)
    held = WILD._replace(targets=(Target("wild", "validation"),))
    people = People(WILD, WILD, WILD, held, held, held, {})
    policy = ModelDigest("p")
    return runner, clean_and_measure(runner, Foundations(people, policy, ModelDigest("s")), Round(1, policy, policy))


def test_a_filter_that_keeps_nothing_ends_the_round(tmp_path: Path) -> None:
    runner, made = cleaned(tmp_path, "keep")
    assert made.policy is None
    assert [str(verdict) for verdict in made.verdicts] == ["labels kept: 0 labels, at least 1: NOT passed"]
    assert not [title for title in runner.done if title.startswith("train_clean")]


def test_a_control_for_which_nothing_is_kept_is_left_out(tmp_path: Path) -> None:
    runner, made = cleaned(tmp_path, "keep (own labels)")
    assert made.policy == "train_clean"
    assert made.notices == ("The control own labels is left out. None of 5 labels passes.",)
    assert {"train_clean", "train_clean (random labels)"} == {
        title for title in runner.done if title.startswith("train_clean")
    }
    stage = runner.done["keep (own labels)"]
    assert isinstance(stage, Keep)
    assert stage.labels == StageKey("pseudo_label (own labels)")
    beside, made = cleaned(tmp_path)
    assert not made.notices
    assert "train_clean (own labels)" in beside.done


@pytest.mark.slow
def test_such_a_round_is_closed_and_reported(tmp_path: Path) -> None:
    """It stayed open, and every run after it failed at the same place."""
    store = Store.open(tmp_path / "store")
    config = SMALL.model_copy(update={"clean": SMALL.clean.model_copy(update={"keep_share": 0.01})})
    runner = Short(Walk(store), config)
    foundations = lay_foundations(runner)
    rounds.begin(store, config.campaign, foundations.base)
    facts = work_through(runner, foundations, "clean", clean_and_measure)
    assert isinstance(facts, RoundFacts)
    assert (facts.promoted, facts.why) == (False, "labels kept: 0 labels, at least 1: NOT passed")
    state = rounds.state(store, config.campaign)
    assert not state.is_open
    assert state.policy == foundations.base
    page = store.read_bytes(f"reports/{facts.report_name}").decode()
    assert "clean.keep_share is 0.01. Raise that." in page
