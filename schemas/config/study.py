"""Configuration of a study: alignments of one policy, which differ in a few fields, side by side for several seeds."""

import re
from collections.abc import Sequence
from itertools import product
from typing import Any, Final, Literal, Self

from pydantic import model_validator

from schemas.config.base import Config, setting
from schemas.config.training import AlignConfig

LearnsFrom = Literal["scored_pairs", "random_pairs", "scorer_labels", "teacher", "constant_offset"]
Figure = Literal[
    "zero_noise_mpvpe",
    "expected_mpvpe",
    "best_of_m_mpvpe",
    "equal_diversity_expected_mpvpe",
    "equal_diversity_best_of_m_mpvpe",
]
"""What a winner may be chosen by: as trained, or with the starting noise that gives every cell the same diversity."""

_LONGEST: Final = 31
"""Characters of a cell's name."""
_ROLES: Final = ("before", "after", "first")
_BEHIND: Final = "minus_"
"""Roles of a comparison that aren't cells', and how those of differences begin, which are made of cells' names."""


class CellConfig(Config):
    """A way to align a policy."""

    name: str = setting(..., "name of the cell, in tables and figures", "-", pattern=r"^[a-z0-9][a-z0-9_.-]{0,30}$")
    control: bool = setting(False, "it stands beside the others, and can't win", "-")
    learns_from: LearnsFrom = setting(
        "scored_pairs",
        "pairs by score; pairs at random; the labels that the scorer was trained on; what a policy that learned those "
        "draws for the people of the pairs; or nothing: one shift for everybody, the mean of winner less loser",
        "-",
    )
    set: dict[str, Any] = setting({}, "fields of align, pair and generate that differ, by dotted names", "-")
    scale: dict[str, float] = setting({}, "factors on what such fields are without it", "1")

    @model_validator(mode="after")
    def _what_trains_nothing_wins_nothing(self) -> Self:
        if self.learns_from == "constant_offset" and not self.control:
            raise ValueError("learns_from=constant_offset trains nothing: say control=True")
        return self


class RuleConfig(Config):
    """How a study names its winner: of the cells that are no controls, keep to the limits, and have the lowest mean."""

    figure: Figure = setting("zero_noise_mpvpe", "figure whose mean change over the seeds decides", "-")
    least_diversity: float = setting(0.95, "smallest mean diversity over the base's, as trained", "1", ge=0)
    most_drift: float = setting(2.5, "largest mean rise of the zero-noise error on sources.drift", "%")


class StudyConfig(Config):
    """A study. Cells that are listed come first, then those of the grid."""

    name: str = setting(..., "name of the study", "-", pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    about: str = setting("", "what it asks, for the page", "-")
    seeds: tuple[int, ...] = setting((0, 1, 2), "seeds; each has people, base policy, scorer and pairs of its own", "-")
    equal: Literal["diversity", "compute", "steps"] = setting(
        "diversity",
        "what cells have in common: diversity of the samples, by the starting noise; compute, by the steps of their "
        "trainings; or the configuration's steps alone",
        "-",
    )
    diversity: float = setting(1.0, "diversity over the base's at which samples are compared", "1", gt=0)
    tolerance: float = setting(0.01, "how far from that it may be before the noise is changed", "1", gt=0)
    rule: RuleConfig = setting(RuleConfig(), "how the winner is named", "-")
    changes: dict[str, Any] = setting({}, "fields of any section that differ from the profile, for all cells", "-")
    cells: tuple[CellConfig, ...] = setting((), "cells", "-")
    grid: dict[str, tuple[Any, ...]] = setting({}, "dotted fields and their values; each combination is a cell", "-")

    @property
    def all_cells(self) -> tuple[CellConfig, ...]:
        """Cells and grid, in order."""
        names = list(self.grid)
        made = [dict(zip(names, values, strict=True)) for values in product(*self.grid.values())] if names else []
        named = zip(_names(["-".join(map(_word, one.values())) for one in made]), made, strict=True)
        return (*self.cells, *(CellConfig(name=name, set=one) for name, one in named))

    @model_validator(mode="after")
    def _cells_have_names_of_their_own(self) -> Self:
        names = [cell.name for cell in self.all_cells]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two cells are called {twice[0]}: give each a name of its own")
        taken = [name for name in names if name in _ROLES or name.startswith(_BEHIND)]
        if taken:
            raise ValueError(
                f"a cell is called {taken[0]}, as a comparison calls something else ({', '.join(_ROLES)}, "
                f"{_BEHIND}...): give it another name"
            )
        if not [cell for cell in self.all_cells if not cell.control]:
            raise ValueError("it has no cell that could win: give some, or a grid")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds must name at least one, each once, none below 0")
        return self

    @model_validator(mode="after")
    def _the_rule_goes_by_what_is_measured(self) -> Self:
        if self.rule.figure.startswith("equal_diversity_") and self.equal != "diversity":
            raise ValueError(
                f"rule.figure={self.rule.figure} is measured with equal=diversity alone, and equal is {self.equal}: "
                f"say equal=diversity, or rule.figure={self.rule.figure.removeprefix('equal_diversity_')}"
            )
        return self

    def cell(self, name: str) -> CellConfig:
        """The cell of this name."""
        return next(cell for cell in self.all_cells if cell.name == name)


def denoiser_passes(config: AlignConfig, *, of_groups: bool, from_reference: bool) -> int:
    """What a step costs, in forward passes of the denoiser for one hypothesis; one that is learned from counts three,
    as its way back takes two. The encoder isn't counted: it is frozen, or sees the same crops in every cell."""
    compared = config.denoised_crops * config.pairs_per_crop * (config.group_size if of_groups else 2)
    replayed = config.replay_images if config.replays else 0
    return 3 * (compared + replayed) + (compared if from_reference else 0)


def _word(value: Any) -> str:
    """A value as a part of a name: m0.5 is minus a half."""
    text = re.sub(r"^-(?=[.\d])", "m", str(value).lower())
    return re.sub(r"[^a-z0-9.]+", "-", text).strip("-.") or "empty"


def _names(wanted: Sequence[str]) -> list[str]:
    """These, cut to what a name may have; those that become one by that get numbers."""
    cut = [name[:_LONGEST] for name in wanted]
    return [
        name if cut.count(name) == 1 or wanted.count(whole) > 1 else f"{name[: _LONGEST - 4]}-{number}"
        for number, (name, whole) in enumerate(zip(cut, wanted, strict=True), 1)
    ]
