"""What a study is asked to do: what can't be done is said before anything begins, and presets go with any campaign."""

import re
from pathlib import Path
from typing import Any

import pytest

from flows.run.early import check_cells
from flows.run.studies.asked import asked_for, cells_of
from infra.store import Store
from schemas.errors import ConfigError
from tasks.engine.context import Context


def study_file(folder: Path, cells: str) -> str:
    (folder / "mine.yaml").write_text(f"seeds: [1, 2]\ncells: {cells}\n")
    return str(folder / "mine.yaml")


def test_a_preset_goes_with_the_engines_own_people_whole() -> None:
    asked = asked_for("objectives", profile="tiny")
    assert not asked.notices
    assert "distilled" in [cell.name for cell in asked.study.all_cells]
    assert sorted(asked.configs) == [0, 1, 2]


@pytest.mark.parametrize(
    ("sources", "why"),
    [
        ({"scorer": ["a/train", "b/train"]}, "sources.scorer has to be one data set .* there are 2"),
        ({"wild": ["insta/train", "3dpw/train"]}, "sources.wild has to be one data set .* there are 2"),
    ],
)
def test_a_control_of_a_preset_that_has_no_people_is_left_out(sources: dict[str, Any], why: str) -> None:
    asked = asked_for("objectives", config={"profile": "paper", "sources": sources})
    assert "distilled" not in [cell.name for cell in asked.study.all_cells]
    assert len(asked.study.all_cells) == 14
    (notice,) = asked.notices
    assert re.search(rf"Cell distilled learns from teacher, for which {why}: it is left", notice)


def test_a_given_scorer_has_no_people_that_it_learned_from() -> None:
    asked = asked_for("objectives", config={"profile": "tiny", "start": {"scorer": "c0ffee"}})
    assert [notice.partition(",")[0] for notice in asked.notices] == ["Cell distilled learns from teacher"]


def test_such_a_cell_of_ones_own_is_refused(tmp_path: Path) -> None:
    path = study_file(tmp_path, "[{name: a}, {name: taught, control: true, learns_from: teacher}]")
    assert not asked_for(path, profile="tiny").notices
    with pytest.raises(ConfigError, match=r"Cell taught learns from teacher, for which sources.scorer .* leave the"):
        asked_for(path, config={"profile": "tiny", "start": {"scorer": "c0ffee"}})


def test_a_cell_in_legs_is_refused(tmp_path: Path) -> None:
    """It would train one leg of them."""
    path = study_file(tmp_path, "[{name: plain}, {name: legs, set: {align.legs: 2}}]")
    with pytest.raises(ConfigError, match="Cell legs: the cells of a study are trained in one leg"):
        asked_for(path, profile="tiny")


def test_a_cell_that_asks_for_heads_which_the_scorer_lacks_is_refused(tmp_path: Path) -> None:
    path = study_file(tmp_path, "[{name: plain}, {name: surest, set: {pair.strategy: surest}}]")
    store = Store.open(tmp_path / "store")
    for heads, refused in ((1, True), (3, False)):
        asked = asked_for(path, profile="tiny", changes={"scorer.score_heads": str(heads)})
        context = Context(store, asked.configs[1])
        if refused:
            with pytest.raises(ConfigError, match="pair strategy surest goes by how much the heads"):
                check_cells(context, cells_of(asked.study, asked.configs))
        else:
            check_cells(context, cells_of(asked.study, asked.configs))
