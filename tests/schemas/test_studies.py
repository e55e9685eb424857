"""Studies as they are written down: presets, cells and grids, and what a cell makes of a configuration."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.config.study import CellConfig, StudyConfig, denoiser_passes
from schemas.config.training import AlignConfig, ObjectiveName
from schemas.errors import ConfigError
from schemas.profiles import PROFILES, micro
from schemas.studies import PRESETS, of_cell
from tasks.pairing.strategies import STRATEGIES


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_preset_goes_with_every_profile(name: str, profile: str) -> None:
    study = PRESETS[name]()
    assert len(study.seeds) >= 3
    configs = {cell.name: of_cell(cell, PROFILES[profile]()) for cell in study.all_cells}
    candidates = [config for cell, config in configs.items() if not study.cell(cell).control]
    assert len({config.model_dump_json() for config in candidates}) == len(candidates), "two cells are one"


def test_the_preset_of_strategies_has_all_that_go_without_labels_and_heads() -> None:
    named = set(PRESETS["strategies"]().grid["pair.strategy"])
    left_out = {"label_wins", "random"}
    assert named == {name for name, one in STRATEGIES.items() if not one.by_heads} - left_out


def test_the_preset_of_objectives_has_all_of_them_and_the_controls() -> None:
    study = PRESETS["objectives"]()
    candidates = [cell for cell in study.all_cells if not cell.control]
    named = {cell.set["align.objective"] for cell in study.all_cells if "align.objective" in cell.set}
    assert named == set(get_args(ObjectiveName))
    assert len(candidates) >= 9
    assert {cell.name for cell in study.all_cells if cell.control} == {
        "sft",
        "random-pairs",
        "no-preference",
        "replay-alone",
        "constant-offset",
        "distilled",
    }


def test_a_grid_is_every_combination_behind_the_cells() -> None:
    study = StudyConfig(
        name="mine",
        cells=(CellConfig(name="plain"),),
        grid={"align.objective": ("dpo", "ipo"), "align.beta": (1, 2.5)},
    )
    assert [cell.name for cell in study.all_cells] == ["plain", "dpo-1", "dpo-2.5", "ipo-1", "ipo-2.5"]
    config = of_cell(study.cell("ipo-2.5"), micro())
    assert (config.align.objective, config.align.beta) == ("ipo", 2.5)


def test_the_cells_of_a_grid_have_names_whatever_its_values_are() -> None:
    study = StudyConfig(
        name="mine",
        grid={
            "align.fixed_statistics": (True, False),
            "align.timestep_power": (-0.5, 0),
            "generate.encoder_precision": ("bfloat16",),
        },
    )
    names = [cell.name for cell in study.all_cells]
    assert names == ["true-m0.5-bfloat16", "true-0-bfloat16", "false-m0.5-bfloat16", "false-0-bfloat16"]
    assert of_cell(study.cell("true-m0.5-bfloat16"), micro()).align.timestep_power == -0.5


def test_long_names_of_a_grid_are_cut_and_numbered() -> None:
    values = ("a-very-long-value-of-some-field-1", "a-very-long-value-of-some-field-2")
    study = StudyConfig(name="mine", grid={"align.objective": values})
    assert [cell.name for cell in study.all_cells] == [
        "a-very-long-value-of-some-f-1",
        "a-very-long-value-of-some-f-2",
    ]


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_every_value_makes_a_name(value: Any) -> None:
    study = StudyConfig(name="mine", grid={"align.beta": (value,), "align.objective": ("dpo",)})
    assert study.all_cells[0].name.endswith("-dpo") or len(str(value)) > 27


def test_a_field_is_scaled_by_what_the_configuration_says() -> None:
    cell = CellConfig(name="more", scale={"align.beta": 3.0, "align.optimiser.steps": 0.5})
    config = micro()
    made = of_cell(cell, config)
    assert made.align.beta == 3 * config.align.beta
    assert made.align.optimiser.steps == config.align.optimiser.steps / 2
    assert made.model_copy(update={"align": config.align}) == config


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"set": {"scorer.twists": 0}}, "Cell a: scorer.twists can't differ from cell to cell"),
        ({"set": {"align.seed": 1}}, "Cell a: align.seed can't differ"),
        ({"scale": {"align.objective": 2}}, "Cell a: align.objective is no number"),
        ({"scale": {"align.antithetic": 2}}, "Cell a: align.antithetic is no number"),
        ({"set": {"align.betta": 1}}, "cell a: There is no configuration field 'align.betta'"),
        ({"set": {"align.beta": -1}}, "cell a: Configuration field align.beta"),
    ],
)
def test_what_a_cell_has_wrong_is_said(cell: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        of_cell(CellConfig(name="a", **cell), micro())


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ({"cells": [{"name": "a"}, {"name": "a"}]}, "two cells are called a"),
        ({"cells": [{"name": "a", "control": True}]}, "no cell that could win"),
        ({"cells": [{"name": "a"}], "seeds": [1, 1]}, "seeds must name"),
        ({"cells": [{"name": "a"}], "seeds": []}, "seeds must name"),
        ({"cells": [{"name": "a b"}]}, "String should match"),
        ({"cells": [{"name": "a", "learns_from": "constant_offset"}]}, "trains nothing"),
        # a comparison gives these names to other evaluations, or to differences
        ({"cells": [{"name": "a"}, {"name": "before"}]}, "a cell is called before, as a comparison calls something"),
        ({"cells": [{"name": "after"}]}, "a cell is called after"),
        ({"cells": [{"name": "first"}]}, "a cell is called first"),
        ({"cells": [{"name": "minus_a"}]}, "a cell is called minus_a"),
        *(
            (
                {"cells": [{"name": "a"}], "equal": equal, "rule": {"figure": "equal_diversity_expected_mpvpe"}},
                f"measured with equal=diversity alone, and equal is {equal}: .* or rule.figure=expected_mpvpe",
            )
            for equal in ("steps", "compute")
        ),
    ],
)
def test_what_a_study_has_wrong_is_said(study: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        StudyConfig.model_validate({"name": "x", **study})


def test_passes_of_a_step() -> None:
    config = AlignConfig(denoised_crops=10, batch_crops=10, pairs_per_crop=2, replay_images=5, group_size=4)
    assert denoiser_passes(config, of_groups=False, from_reference=True) == 3 * (40 + 5) + 40
    assert denoiser_passes(config, of_groups=False, from_reference=False) == 3 * (40 + 5)
    assert denoiser_passes(config, of_groups=True, from_reference=True) == 3 * (80 + 5) + 80
    without = config.model_copy(update={"replay": 0.0})
    assert denoiser_passes(without, of_groups=False, from_reference=True) == 4 * 40
