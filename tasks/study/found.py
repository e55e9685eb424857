"""What a finished study found, read from `metrics`: its cells in order of merit, and each seed by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from infra.stages import find
from infra.store import Store
from infra.tables import read
from schemas.config.study import StudyConfig
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from tasks.rows.metrics import DIVERSITY, Metric, read_metrics
from tasks.stages.study import AS_TRAINED, AT_EQUAL, DRIFT, MINUS, PASSES, PLACE, REACHED, at_equal

COLUMNS: Mapping[str, str] = {
    "zero_noise_mpvpe": "zero noise",
    "expected_mpvpe": "expected",
    "best_of_m_mpvpe": "best of M",
    at_equal("expected_mpvpe"): "expected, equal diversity",
    at_equal("best_of_m_mpvpe"): "best of M, equal diversity",
    REACHED: "diversity, equal diversity",
    DIVERSITY: "diversity",
    DRIFT: "drift",
}
"""Figures, and what tables call them; all are changes against the base policy in %."""


@dataclass(frozen=True)
class CellFound:
    """A cell over all seeds. `place` is by the rule: None for a control, and for one that breaks a limit."""

    name: str
    control: bool
    figures: Mapping[str, Metric]
    place: int | None
    passes: int | None
    seconds: float | None
    """Of one training, the mean over the seeds; None where it has none."""
    behind: Metric | None
    """Of the rule's figure, how far behind the winner."""
    missed: tuple[int, ...] = ()
    """Seeds in which its samples, by turned noise, don't spread as was asked for, within the study's tolerance."""


@dataclass(frozen=True)
class OfSeed:
    """A cell of one seed: changes with their intervals over people."""

    seed: int
    cell: str
    figures: Mapping[str, Metric]


@dataclass(frozen=True)
class StudyFound:
    """All of it. `cells`: those with a place first, then the others that could have won, then controls."""

    study: StudyConfig
    key: StageKey
    compared: tuple[StageKey, ...]
    target: Target
    cells: tuple[CellFound, ...]
    seeds: tuple[OfSeed, ...]

    @property
    def winner(self) -> CellFound | None:
        """The first of those that keep to the limits; None if none does."""
        return next((cell for cell in self.cells if cell.place == 1), None)

    @property
    def next(self) -> CellFound | None:
        """The second."""
        return next((cell for cell in self.cells if cell.place == 2), None)

    @property
    def figures(self) -> list[str]:
        """Those that were measured, in the order of tables."""
        return [name for name in COLUMNS if any(name in cell.figures for cell in self.cells)]


def read_study(store: Store, key: StageKey, study: StudyConfig) -> StudyFound:
    """A study by the key of its stage. DataError where it is not finished."""
    record = find(store, key)
    if record is None:
        raise DataError(f"There is no finished study {key[:12]} in {store.url}.")
    count = len(study.seeds)
    compared, equal = record.reads[:count], record.reads[count:]
    rows = {(one.role, one.name): one for one in read_metrics(store, key)}
    target = next(iter(rows.values())).target
    per_seed = [{(one.name, one.role, one.target): one for one in read_metrics(store, stage)} for stage in compared]
    of_equal = [
        {(one.name, one.role): one for one in read_metrics(store, stage) if one.target == target} for stage in equal
    ]
    models = {
        cell.name: [
            row.model for by_name in per_seed if (row := by_name.get((AS_TRAINED[0], f"change_{cell.name}", target)))
        ]
        for cell in study.all_cells
    }
    seconds = _seconds(store, [model for cell in models.values() for model in cell if model])
    cells = []
    for cell in study.all_cells:
        place, passes = rows.get((cell.name, PLACE)), rows.get((cell.name, PASSES))
        took = [seconds[model] for model in models[cell.name] if model in seconds] if passes is not None else []
        cells.append(
            CellFound(
                cell.name,
                cell.control,
                {name: rows[cell.name, name] for name in COLUMNS if (cell.name, name) in rows},
                None if place is None else round(place.value),
                None if passes is None else round(passes.value),
                fmean(took) if took else None,
                rows.get((cell.name, MINUS)),
                tuple(
                    seed
                    for seed, by_name in zip(study.seeds, of_equal, strict=False)
                    if misses(study, by_name.get((DIVERSITY, f"change_{cell.name}")))
                ),
            )
        )
    figure = study.rule.figure
    order = sorted(
        cells,
        key=lambda one: (
            one.control,
            one.place is None,
            one.place or 0,
            one.figures[figure].value if figure in one.figures else 0.0,
        ),
    )
    seeds = []
    for number, seed in enumerate(study.seeds):
        for one in order:
            found = {
                name: row
                for name in COLUMNS
                if (row := per_seed[number].get((name, f"change_{one.name}", target))) is not None
            }
            if of_equal:
                found |= {
                    at_equal(name): row
                    for name in AT_EQUAL
                    if (row := of_equal[number].get((name, f"change_{one.name}")))
                }
            seeds.append(OfSeed(seed, one.name, found))
    return StudyFound(study, key, compared, target, tuple(order), tuple(seeds))


def misses(study: StudyConfig, reached: Metric | None) -> bool:
    """Whether a diversity that was `reached`, a change against the base's in %, isn't what the study asks for."""
    if reached is None:
        return False
    return abs((1 + reached.value / 100) / study.diversity - 1) > study.tolerance + 1e-9


def _seconds(store: Store, models: Sequence[str]) -> dict[str, float]:
    """How long the trainings of these models took."""
    rows = read(store, "models", columns=["digest", "stage_key"]).to_pylist()
    wanted, found = set(models), {}
    for row in rows:
        if row["digest"] in wanted and (record := find(store, row["stage_key"])) is not None:
            found[row["digest"]] = record.seconds
    return found
