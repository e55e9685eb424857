"""The studies that come with the engine, by name, and what a cell of a study makes of a configuration."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.config.engine import EngineConfig
from schemas.config.study import CellConfig, StudyConfig
from schemas.errors import ConfigError
from schemas.layers import Setting, changed

SECTIONS: Final = ("align", "pair", "generate")
"""What cells may differ in: all else is made once for a seed, and shared by them."""

_NOTHING: Final = 1e-9
"""In the place of a beta of 0, which has no logarithm: a preference that pulls no more."""

CONTROLS: Final = (
    CellConfig(name="sft", control=True, set={"align.objective": "sft"}),
    CellConfig(name="random-pairs", control=True, learns_from="random_pairs"),
    CellConfig(name="no-preference", control=True, set={"align.beta": _NOTHING}),
    CellConfig(name="replay-alone", control=True, set={"align.beta": _NOTHING, "align.anchor": 0.0}),
    CellConfig(name="constant-offset", control=True, learns_from="constant_offset"),
    CellConfig(name="distilled", control=True, learns_from="teacher", set={"align.objective": "sft"}),
)
"""Winners alone; losers that are none; what is left without a preference, and without an anchor; one shift for all; and
what the scorer knows, given to the same denoiser without any pair."""


def objectives() -> StudyConfig:
    """Every objective of `docs/method.md`, with controls."""
    return StudyConfig(
        name="objectives",
        about="Which objective of preferences earns most on the same hypotheses, scores and pairs?",
        cells=(
            CellConfig(name="anchored-dpo", set={"align.objective": "anchored_dpo"}),
            CellConfig(name="dpo", set={"align.objective": "dpo"}),
            CellConfig(name="ipo", set={"align.objective": "ipo"}),
            CellConfig(name="hinge", set={"align.objective": "hinge"}),
            # its beta has no half, and its gradient falls off on both sides: docs/method.md
            CellConfig(name="kto", set={"align.objective": "kto"}, scale={"align.beta": 30.0}),
            CellConfig(name="group", set={"align.objective": "group"}),
            CellConfig(name="listwise", set={"align.objective": "listwise"}),
            CellConfig(name="sdpo", set={"align.objective": "sdpo"}),
            CellConfig(name="nft", set={"align.objective": "nft"}),
            *CONTROLS,
        ),
    )


def strategies() -> StudyConfig:
    """Every pair strategy that needs no label, and no scorer of several heads, by the configuration's objective and by
    plain DPO."""
    return StudyConfig(
        name="strategies",
        about="Which of a person's hypotheses should be winner and loser?",
        grid={
            "pair.strategy": ("top_bottom", "crossed", "disagreement"),
            "align.objective": ("anchored_dpo", "dpo"),
        },
        cells=(CellConfig(name="random-pairs", control=True, learns_from="random_pairs"),),
    )


def strength() -> StudyConfig:
    """How strong the preference should be: beta, four times less to four times more."""
    return StudyConfig(
        name="strength",
        about="How strongly should preferences pull?",
        cells=(
            *(
                CellConfig(name=f"beta-x{factor:g}", scale={"align.beta": factor})
                for factor in (0.25, 0.5, 1.0, 2.0, 4.0)
            ),
            CellConfig(name="no-preference", control=True, set={"align.beta": _NOTHING}),
        ),
    )


PRESETS: Final[Mapping[str, Callable[[], StudyConfig]]] = {
    "objectives": objectives,
    "strategies": strategies,
    "strength": strength,
}


def of_cell(cell: CellConfig, config: EngineConfig) -> EngineConfig:
    """The configuration of a cell. ConfigError for what is no field of it, or takes no such value."""
    plain, said = config.model_dump(), dict(cell.set)
    for name in (*cell.set, *cell.scale):
        if name.split(".")[0] not in SECTIONS or name.endswith(".seed"):
            raise ConfigError(
                f"Cell {cell.name}: {name} can't differ from cell to cell; fields of {', '.join(SECTIONS)} can, but "
                "seeds. What holds for all cells is said by --set, or under `changes`."
            )
    for name, factor in cell.scale.items():
        value: Any = plain
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"Cell {cell.name}: {name} is no number, so it can't be scaled.")
        said[name] = round(value * factor) if isinstance(value, int) else value * factor
    return changed(config, [Setting(name, value, f"cell {cell.name}") for name, value in said.items()]).config
