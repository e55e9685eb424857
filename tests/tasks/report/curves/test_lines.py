"""Curves of a round in legs: each leg from where the one before has ended, under its own number."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from schemas.tables import build
from tasks.report.curves.lines import LegCurves, Line, leg_curves
from tasks.report.facts import RoundFacts, StageRun
from tasks.report.fill import panels

A, B = "a" * 64, "b" * 64


def trained(store: Store, number: int, values: list[float]) -> str:
    spec = StageSpec("align", 1, {"number": number})
    steps = np.arange(len(values)) * 10
    columns = {
        "series": ["loss"] * len(values),
        "step": steps,
        "value": values,
        "stage_key": [spec.key] * len(values),
    }
    table: pa.Table = build("curves", columns)
    commit_rows(store, spec, {"curves": table.drop_columns(["stage_key"])})
    return spec.key


def test_all_legs_are_read_and_stand_one_after_the_other(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    keys = [trained(store, 1, [3.0, 2.0, 1.0]), trained(store, 2, [6.0, 5.0])]
    control = trained(store, 3, [9.0])
    roles = ["", "leg 2"]
    runs = [StageRun("align", role, key, "run") for role, key in zip(roles, keys, strict=True)]
    runs.append(StageRun("align", "random pairs, leg 2", control, "run"))
    legs = leg_curves(store, RoundFacts("dpo", "c", 1, A, B, A, B, tuple(runs)))
    assert [(leg.leg, leg.lines["loss"].values.tolist()) for leg in legs] == [(1, [3, 2, 1]), (2, [6, 5])]
    (panel,) = panels(legs)
    assert panel.title == "Loss"
    assert [(one.name, one.leg, one.steps.tolist()) for one in panel.series] == [
        ("loss", 1, [0, 10, 20]),
        ("loss", 2, [30, 40]),
    ]
    assert panel.breaks == (30,)


def test_a_round_without_legs_numbers_none() -> None:
    (panel,) = panels([LegCurves(1, {"loss": Line(np.array([0, 10]), np.array([1.0, 2.0]))})])
    assert [(one.leg, one.steps.tolist()) for one in panel.series] == [(None, [0, 10])]
    assert panel.breaks == ()


def test_a_panel_needs_all_of_its_lines() -> None:
    line = Line(np.array([0, 10]), np.array([1.0, 2.0]))
    assert panels([LegCurves(1, {"winner": line})]) == []
    assert [one.title for one in panels([LegCurves(1, {"winner": line, "loser": line})])] == ["Denoising error"]
