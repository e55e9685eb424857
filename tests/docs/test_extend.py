"""The recipes of docs/extend.md work: all of them fit, and three are followed on a copy of the engine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.recipes import copied, recipes

RECIPES = recipes()
PLACES = {
    "An objective": 2,
    "A pair strategy": 2,
    "A format": 1,
    "A column": 2,
    "A stage": 3,
    "A gate": 2,
    "A command": 2,
}
"""The most files that each may touch; a format's folder counts as one, and so do the objectives'. Tests don't count."""


def followed(recipe: str, folder: Path) -> str:
    """The last line of the `follow_` module of a recipe, which is run in a copy where the recipe was followed."""
    RECIPES[f"A{'n' * (recipe[0] in 'aeiou')} {recipe}"].follow(copied(folder))
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("ADHMR_", "PYTEST_"))}
    ended = subprocess.run(
        [sys.executable, "-m", f"tests.docs.follow_{recipe}"],
        cwd=folder,
        env={**plain, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.strip().splitlines()[-1]


def test_each_touches_few_places() -> None:
    assert set(RECIPES) == set(PLACES)
    for name, recipe in RECIPES.items():
        places = {
            str(Path(file).parent) if re.search("/(formats|preferences)/", file) else file for file in recipe.files
        }
        assert 0 < len(places) <= PLACES[name], (name, places)


def test_all_fit_the_engine_beside_each_other(tmp_path: Path) -> None:
    copied(tmp_path)
    touched = set()
    for recipe in RECIPES.values():
        recipe.follow(tmp_path)
        touched |= recipe.files
    for check in (["check"], ["format", "--check"]):
        words = [sys.executable, "-m", "ruff", *check, *touched]
        ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
def test_an_objective_is_chosen_and_trains(tmp_path: Path) -> None:
    assert followed("objective", tmp_path) == "0 2 True"


@pytest.mark.slow
def test_a_format_is_listed_recognised_and_ingested(tmp_path: Path) -> None:
    listed, taken_for, boxes, reasons = json.loads(followed("format", tmp_path))
    assert listed
    assert taken_for == ["people-txt"]
    assert boxes == [[10, 5, 40, 50]] * 3
    assert reasons == ["not finite", "row not readable"]


@pytest.mark.slow
def test_a_stage_runs_is_found_again_and_its_fields_count(tmp_path: Path) -> None:
    assert json.loads(followed("stage", tmp_path)) == [0.5, False, True, ["reuse", "run"], True]
