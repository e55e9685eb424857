"""What a study makes of its comparisons: means and intervals over seeds, places by the rule, and the page."""

import json
from pathlib import Path

import numpy as np
import pytest

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from models.statistics import Interval, t_interval
from schemas.config.study import CellConfig, RuleConfig, StudyConfig
from schemas.ids import StageKey
from schemas.profiles import micro
from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_VALIDATION
from tasks.engine.context import Context
from tasks.rows.metrics import Metric, metrics_table, read_metrics
from tasks.stages.study import Study, ranked
from tasks.study.found import read_study
from tasks.study.page import document, markdown, table, verdict
from tasks.study.write import write_study

STUDY = StudyConfig(
    name="toy",
    seeds=(3, 4, 5),
    cells=(
        CellConfig(name="steady"),
        CellConfig(name="narrow"),
        CellConfig(name="drifting"),
        CellConfig(name="weak"),
        CellConfig(name="too-good", control=True),
    ),
)
CHANGES = {
    # zero noise of each seed, diversity, drift
    "steady": ((-5.0, -6.0, -7.0), -1.0, 0.5),
    "narrow": ((-9.0, -9.0, -9.0), -20.0, 0.5),
    "drifting": ((-8.0, -8.0, -8.0), 0.0, 6.0),
    "weak": ((-1.0, -2.0, -3.5), 0.0, 0.1),
    "too-good": ((-20.0, -20.0, -20.0), 0.0, 0.0),
}


def compared(store: Store, number: int, *, equal: bool = False) -> StageKey:
    spec = StageSpec("compare", 1, {"seed": number, "equal": equal})
    rows = []
    for cell, (zero, spread, drift) in CHANGES.items():
        role = f"change_{cell}"
        named = {"zero_noise_mpvpe": zero[number], "best_of_m_mpvpe": zero[number] / 2, "expected_mpvpe": zero[number]}
        if equal:
            named = {name: value - 1 for name, value in named.items()}
        for name, value in {**named, "diversity": spread}.items():
            rows.append(Metric(name, role, WILD_VALIDATION, "%", value, 12, value - 1, value + 1))
        rows.append(Metric("zero_noise_mpvpe", role, SOURCE_TEST, "%", drift, 12))
        # nobody asks for people of test: were they there, they would not count
        rows.append(Metric("zero_noise_mpvpe", role, WILD_TEST, "%", 99.0, 12))
    commit_rows(store, spec, {"metrics": metrics_table(rows, spec)})
    return spec.key


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, StageKey]:
    store = Store.open(tmp_path_factory.mktemp("study"))
    keys = tuple(compared(store, number) for number in range(3))
    equal = tuple(compared(store, number, equal=True) for number in range(3))
    names = tuple(CHANGES)
    stage = Study(
        keys, equal, names, ("too-good",), dict.fromkeys(names, 1234), RuleConfig(), WILD_VALIDATION, (SOURCE_TEST,)
    )
    return store, StageKey(stage.run(Context(store, micro())).key)


def test_means_intervals_and_places(done: tuple[Store, StageKey]) -> None:
    found = {(one.role, one.name): one for one in read_metrics(*done)}
    steady = found["steady", "zero_noise_mpvpe"]
    half = 4.302652729696142 / np.sqrt(3)  # Student's t with two degrees of freedom; standard deviation 1
    assert (steady.value, steady.n) == (-6.0, 3)
    assert (steady.low, steady.high) == (pytest.approx(-6 - half), pytest.approx(-6 + half))
    assert found["steady", "equal_diversity_best_of_m_mpvpe"].value == pytest.approx(-4.0)
    assert found["drifting", "drift"].value == 6.0
    # who spends spread or drifts has no place, and no control has one, however good
    assert {cell: found[cell, "place"].value for cell in CHANGES if (cell, "place") in found} == {
        "steady": 1,
        "weak": 2,
    }
    behind = found["weak", "minus_winner"]
    assert behind.value == pytest.approx(np.mean([4.0, 4.0, 3.5]))
    assert ("steady", "minus_winner") not in found


@pytest.mark.parametrize(
    ("rule", "order"),
    [
        (RuleConfig(), ["a"]),
        (RuleConfig(least_diversity=0.9), ["b", "a"]),
        (RuleConfig(most_drift=2.9), ["a"]),
        (RuleConfig(most_drift=3.0), ["c", "a"]),
        (RuleConfig(least_diversity=0.97), []),
    ],
)
def test_the_limits_of_the_rule_hold_to_the_number(rule: RuleConfig, order: list[str]) -> None:
    found = {}
    for cell, zero, spread, drift in (("a", -1, -4, 0), ("b", -2, -10, 0), ("c", -3, 0, 3)):
        for name, value in (("zero_noise_mpvpe", zero), ("diversity", spread), ("drift", drift)):
            found[cell, name] = Interval(value, value, value)
    assert ranked(found, ["a", "b", "c"], rule) == order


def test_one_seed_has_no_interval() -> None:
    one = t_interval([2.0])
    assert one.value == 2.0
    assert np.isnan([one.low, one.high]).all()


def test_the_page_says_who_wins_and_how_sure_that_is(done: tuple[Store, StageKey], tmp_path: Path) -> None:
    found = read_study(*done, STUDY)
    assert [cell.name for cell in found.cells] == ["steady", "weak", "narrow", "drifting", "too-good"]
    lines = list(table(found))
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:3] == ["1", "steady", "\u22126.0"]
    # what turning the noise came to is shown, and said of who missed it; steady is at the edge of what is let pass
    assert {cell.name: cell.missed for cell in found.cells if cell.missed} == {"narrow": (3, 4, 5)}
    marked = [line for line in lines if "\u2020" in line]
    assert [line.split()[0] for line in marked] == ["narrow", "\u2020:"]
    said = verdict(found)
    assert said.startswith("Winner: steady, ")
    assert "they are told apart" in said
    page = markdown(found)
    assert "| | *too-good* |" in page.replace("|  |", "| |")
    assert page.count("| 3 | ") == len(CHANGES)
    assert "diversity, equal diversity" in page
    assert [line.split("|")[2].strip() for line in page.splitlines() if "\u2020 |" in line] == ["narrow"] * 4
    plain = document(found)
    by_name = {cell["name"]: cell for cell in plain["cells"]}
    assert by_name["narrow"]["missed_diversity_in_seeds"] == [3, 4, 5]
    assert by_name["narrow"]["changes"]["reached_diversity"]["value"] == pytest.approx(-20)
    assert plain["winner"] == "steady"
    assert plain["cells"][1]["behind_winner"]["low"] > 0
    first, second = tmp_path / "one", tmp_path / "two"
    for folder in (first, second):
        write_study(done[0], found, str(folder))
    names = sorted(file.name for file in first.iterdir())
    assert names == ["changes.png", "changes.svg", "study.json", "study.md", "trade-off.png", "trade-off.svg"]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    assert json.loads((first / "study.json").read_text())["winner"] == "steady"


def test_where_nobody_keeps_to_the_limits_nobody_wins(done: tuple[Store, StageKey]) -> None:
    store, _ = done
    keys = tuple(compared_again(store))
    rule = RuleConfig(most_drift=0.0)
    stage = Study(keys, (), tuple(CHANGES), ("too-good",), {}, rule, WILD_VALIDATION, (SOURCE_TEST,))
    found = read_study(store, StageKey(stage.run(Context(store, micro())).key), STUDY.model_copy(update={"rule": rule}))
    assert found.winner is None
    assert verdict(found).startswith("No cell wins")


def compared_again(store: Store) -> list[StageKey]:
    return [StageSpec("compare", 1, {"seed": number, "equal": False}).key for number in range(3)]
