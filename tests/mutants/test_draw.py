"""The mutants themselves: drawn by the seed alone, never of words for people, and enough of them everywhere."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.mutants.draw import Mutant, draw, mutants_of
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.rooms import ROOMS
from tests.mutants.survivors import SURVIVORS

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = '''
"""Words. 1 + 1."""
import os
LIMIT: int = 3
def decide(one: int, other: int = 0) -> bool:
    """More than 2 < 3 words."""
    if one < other and not LIMIT:
        raise ValueError(f"{one + 1} is less", other - 1)
    progress.say("told", one + 2)
    return max(one, -other) * 2 == [7][0]
'''


@cache
def four(module: str) -> list[Mutant]:
    """A module's, drawn once: it takes a second."""
    return draw(ROOT, module, 4, 0)


def test_each_operator_has_its_mutants_and_words_have_none(tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text(SAMPLE, encoding="utf-8")
    made = {(mutant.before, mutant.after) for mutant in mutants_of(tmp_path, "sample.py")}
    assert made == {
        ("3", "4"),
        ("0", "1"),
        ("one < other", "one >= other"),
        ("one < other and not LIMIT", "one < other or not LIMIT"),
        ("not LIMIT", "LIMIT"),
        ("max(one, -other) * 2 == [7][0]", "max(one, -other) * 2 != [7][0]"),
        ("max(one, -other) * 2", "max(one, -other) / 2"),
        ("max(one, -other)", "max(-other, one)"),
        ("-other", "other"),
        ("2", "3"),
        ("7", "8"),
    }
    for mutant in mutants_of(tmp_path, "sample.py"):
        ast.parse(mutant.source)
        assert mutant.source != SAMPLE


def test_the_seed_decides_which_are_drawn() -> None:
    module = "models/objectives.py"
    first, again, other = (draw(ROOT, module, 6, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len({mutant.line for mutant in first}) == 6


@pytest.mark.parametrize("module", ROOMS)
def test_every_room_has_mutants_enough_and_its_tests(module: str) -> None:
    assert len(four(module)) == 4
    for test in ROOMS[module]:
        assert (ROOT / test).exists(), test


def test_together_they_are_sixty_and_the_survivors_are_twenty_five() -> None:
    assert sum(len(four(module)) for module in ROOMS) >= 60
    assert len(SURVIVORS) == 25


@pytest.mark.parametrize("survivor", SURVIVORS, ids=lambda survivor: survivor.what)
def test_what_was_written_by_hand_still_changes_its_module(survivor: object) -> None:
    assert isinstance(survivor, type(SURVIVORS[0]))
    mutant = survivor.mutant(ROOT)
    assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse((ROOT / mutant.module).read_text(encoding="utf-8")))


def test_what_cannot_matter_says_why_and_is_still_there() -> None:
    every = {
        (mutant.module, mutant.text, f"{mutant.before} -> {mutant.after}")
        for module in {module for module, *_ in EQUIVALENT}
        for mutant in mutants_of(ROOT, module)
    }
    for name, why in EQUIVALENT.items():
        assert len(why) > 20, name
        assert name in every, f"{name}: no such mutant any more"
