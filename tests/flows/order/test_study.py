"""A study in one process: what cells share is done once, only validation is measured, and done again all is found."""

from pathlib import Path

import pytest

import flows.order.study
from flows.cli.study import plan_study
from flows.order.dpo import align_and_measure
from flows.order.study import explore, passes_of_step, settings_of
from flows.run.campaign.people import People
from flows.run.round import Foundations, Round
from infra.stages import records
from infra.store import Store
from schemas.config.study import CellConfig, StudyConfig
from schemas.ids import ModelDigest, StageKey, Target
from schemas.profiles import micro
from schemas.tables import OUTSIDE_ROUNDS
from tasks.diagnostics.targets import Targets
from tasks.engine.context import Context
from tasks.rows.part import Part
from tasks.stages.training import Align
from tasks.study.found import read_study
from tests.faults.chain import CONFIG as SMALL
from tests.faults.chain import Walk, Walking
from tests.flows.order.test_legs import WILD, Recorder
from tests.profiles import load_profile

CELLS = (
    CellConfig(name="dpo", set={"align.objective": "dpo"}),
    CellConfig(name="group", set={"align.objective": "group"}),
    CellConfig(name="random", control=True, learns_from="random_pairs"),
    CellConfig(name="offset", control=True, learns_from="constant_offset"),
    CellConfig(name="distilled", control=True, learns_from="teacher", set={"align.objective": "sft"}),
)
STUDY = StudyConfig(name="small", seeds=(SMALL.seed,), cells=CELLS)


def runner_of(store: Store) -> Walking:
    runner = Walking(Walk(store))
    runner.in_round(OUTSIDE_ROUNDS)
    return runner


@pytest.mark.slow
def test_a_study_shares_what_cells_have_in_common_and_looks_at_validation_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    configs = {SMALL.seed: SMALL}
    before = plan_study(Context(store, SMALL), STUDY, configs)
    assert (before.trainings, before.reused) == (5, 0)  # the teacher as well
    assert before.seconds.most > before.seconds.least > 0

    key = explore(runner_of(store), STUDY, configs)
    made = records(store)
    counted = [record.stage for record in made]
    assert {
        name: counted.count(name) for name in ("train_base", "train_scorer", "generate", "score", "pair", "align")
    } == {
        "train_base": 1,
        "train_scorer": 1,
        "generate": 1,
        "score": 1,
        "pair": 2,
        "align": 5,
    }
    measured = {target for record in made if record.stage == "evaluate" for target in record.config["targets"]}
    assert measured == {"wild/validation", "source/test"}
    assert {record.round for record in made if record.stage == "align"} == {OUTSIDE_ROUNDS}

    found = read_study(store, StageKey(key), STUDY)
    assert {cell.name for cell in found.cells} == {cell.name for cell in CELLS}
    by_name = {cell.name: cell for cell in found.cells}
    assert "equal_diversity_best_of_m_mpvpe" in by_name["dpo"].figures
    assert "zero_noise_mpvpe" in by_name["offset"].figures
    assert by_name["offset"].passes is None
    assert by_name["distilled"].passes is not None

    # a cell more: all that was done is found
    more = STUDY.model_copy(update={"cells": (*CELLS, CellConfig(name="ipo", set={"align.objective": "ipo"}))})
    after = plan_study(Context(store, SMALL), more, configs)
    assert after.trainings == 1
    times = {record.stage_key: record.finished_at for record in made}
    assert explore(runner_of(store), STUDY, configs) == key
    assert {record.stage_key: record.finished_at for record in records(store)} == times


def test_at_equal_compute_dear_cells_train_fewer_steps() -> None:
    study = STUDY.model_copy(update={"equal": "compute"})
    config = micro()
    settings = {cell.name: settings_of(study, cell, config) for cell in CELLS}
    costs = {name: one.optimiser.steps * passes_of_step(one) for name, one in settings.items()}
    assert settings["dpo"].optimiser.steps == config.align.optimiser.steps
    assert settings["group"].optimiser.steps < settings["dpo"].optimiser.steps < settings["distilled"].optimiser.steps
    for name, cost in costs.items():
        assert abs(cost - costs["dpo"]) <= passes_of_step(settings[name]) / 2, name
    by_steps = settings_of(STUDY, CELLS[1], config)
    assert by_steps.optimiser.steps == config.align.optimiser.steps


@pytest.mark.parametrize("raw", [None, ModelDigest("r")])
def test_cells_begin_as_a_campaigns_first_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: ModelDigest | None
) -> None:
    """With its people, from its weights: else what that did isn't found, and cells answer another question."""
    held = WILD._replace(targets=(Target("wild", "validation"),))
    ground = Foundations(People(WILD, WILD, WILD, held, held, held, {}), ModelDigest("p"), ModelDigest("s"), None, raw)
    monkeypatch.setattr(flows.order.study, "find_foundations", lambda runner: ground)
    config = load_profile("micro", changes={"rounds.people_parts": "2"})
    runner = Recorder(Context(Store.open(tmp_path / "store"), config))
    cells = tuple(cell for cell in CELLS if cell.learns_from != "constant_offset")
    explore(runner, STUDY.model_copy(update={"equal": "steps", "cells": cells}), {0: config})
    round_ = Recorder(runner.context)
    align_and_measure(round_, ground, Round(1, ground.base, ground.base))
    for title, of_round in {"generate": "generate", "score": "score", "pair (dpo)": "pair"}.items():
        study, own = (done[name] for done, name in ((runner.done, title), (round_.done, of_round)))
        assert study == own
    first = round_.done["align"]
    assert isinstance(first, Align)
    for name in ("dpo", "random", "distilled"):
        made = runner.done[f"align ({name})"]
        assert isinstance(made, Align)
        assert (made.policy, made.reference, made.average) == (first.policy, first.reference, first.average)
        assert made.people == first.people
    taught = runner.done["targets (distilled)"]
    assert isinstance(taught, Targets)
    assert taught.part == Part(0.0, 0.5)
