"""A round's facts reach whoever called its flow, whatever Prefect's server answers at its end."""

import pytest
from prefect.exceptions import MissingResult
from prefect.states import Completed

from flows.run.round_artifacts import facts_of, outcome
from tasks.report.facts import RoundFacts

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
