"""Study: what the cells of a study came to, over its seeds, as rows of `metrics`.

Roles are the names of cells. Changes are against the base policy, in %: mean over the seeds, t-interval over them.

    zero_noise_mpvpe, expected_mpvpe, best_of_m_mpvpe    as trained
    equal_diversity_expected_mpvpe, ..._best_of_m_mpvpe  with starting noise that gives the samples equal diversity
    diversity                                            as trained
    reached_diversity                                    with that noise: what it came to
    drift                                                zero_noise_mpvpe on the splits of drift, the largest of them
    minus_winner                                         of the rule's figure, less the winner's of the same seed
and passes (of the denoiser, in one training), place (by the rule; winners have 1; controls and who breaks a limit have
none).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.store import Store
from models.statistics import Interval, t_interval
from schemas.config.study import RuleConfig
from schemas.ids import StageKey, Target
from tasks.engine.context import Context
from tasks.engine.stage import Rows, WholeStage
from tasks.rows.metrics import DIVERSITY, Metric, metrics_table, read_metrics

AS_TRAINED: Final = ("zero_noise_mpvpe", "expected_mpvpe", "best_of_m_mpvpe")
AT_EQUAL: Final = ("expected_mpvpe", "best_of_m_mpvpe", DIVERSITY)
DRIFT, PLACE, PASSES, MINUS, REACHED = "drift", "place", "passes", "minus_winner", "reached_diversity"


def at_equal(figure: str) -> str:
    """The name of a figure that was taken at equal diversity; of diversity itself, what that came to."""
    return REACHED if figure == DIVERSITY else f"equal_diversity_{figure}"


@dataclass(frozen=True)
class Study(WholeStage):
    """Takes the comparisons of each seed together -> table `metrics`.

    `compared` are those of the policies as trained, `at_equal` those at equal diversity, none where that was not asked,
    both seed by seed. `cells` are all names, `controls` those of them that can't win; `passes` by name.
    """

    compared: tuple[StageKey, ...]
    at_equal: tuple[StageKey, ...]
    cells: tuple[str, ...]
    controls: tuple[str, ...]
    passes: Mapping[str, int]
    rule: RuleConfig
    target: Target
    drift: tuple[Target, ...] = ()

    name = "study"
    version = 2
    writes = ("metrics",)

    def key_config(self, context: Context) -> Mapping[str, Any]:
        return {
            "seeds": len(self.compared),
            "cells": list(self.cells),
            "controls": list(self.controls),
            "passes": dict(self.passes),
            "rule": self.rule,
            "target": str(self.target),
            "drift": [str(target) for target in self.drift],
        }

    def reads(self, context: Context) -> Sequence[StageKey]:
        return (*self.compared, *self.at_equal)

    def make(self, context: Context) -> Rows:
        seen = self._changes(context.store)
        found = {(cell, name): over_seeds(values) for (cell, name), values in seen.items()}
        places = ranked(found, [cell for cell in self.cells if cell not in self.controls], self.rule)
        metrics = [
            self._metric(name, cell, "%", interval, len(seen[cell, name])) for (cell, name), interval in found.items()
        ]
        for place, cell in enumerate(places, 1):
            metrics.append(self._metric(PLACE, cell, "1", Interval(place, math.nan, math.nan), len(self.compared)))
        for cell, passes in self.passes.items():
            metrics.append(self._metric(PASSES, cell, "passes", Interval(passes, math.nan, math.nan), 1))
        if places:
            metrics += self._behind(seen, places[0])
        return Rows({"metrics": metrics_table(metrics, self.spec(context))})

    def _changes(self, store: Store) -> dict[tuple[str, str], list[float]]:
        """By cell and name: the change of each seed, in %."""
        seen: dict[tuple[str, str], list[float]] = {}
        for key in self.compared:
            by_name = {(one.name, one.role, one.target): one.value for one in read_metrics(store, key)}
            for cell in self.cells:
                for name in (*AS_TRAINED, DIVERSITY):
                    if (name, f"change_{cell}", self.target) in by_name:
                        seen.setdefault((cell, name), []).append(by_name[name, f"change_{cell}", self.target])
                drifts = (by_name.get((AS_TRAINED[0], f"change_{cell}", target)) for target in self.drift)
                if known := [drift for drift in drifts if drift is not None]:
                    seen.setdefault((cell, DRIFT), []).append(max(known))
        for key in self.at_equal:
            for one in read_metrics(store, key):
                cell = one.role.removeprefix("change_")
                if one.role != cell and cell in self.cells and one.name in AT_EQUAL and one.target == self.target:
                    seen.setdefault((cell, at_equal(one.name)), []).append(one.value)
        return seen

    def _behind(self, seen: Mapping[tuple[str, str], list[float]], winner: str) -> Iterator[Metric]:
        best = seen[winner, self.rule.figure]
        for cell in self.cells:
            own = seen.get((cell, self.rule.figure), [])
            if cell != winner and len(own) == len(best):
                apart = over_seeds([one - other for one, other in zip(own, best, strict=True)])
                yield self._metric(MINUS, cell, "percentage points", apart, len(own))

    def _metric(self, name: str, cell: str, unit: str, interval: Interval, n: int) -> Metric:
        low, high = (None if math.isnan(end) else end for end in (interval.low, interval.high))
        return Metric(name, cell, self.target, unit, interval.value, n, low, high)


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean and t-interval; the ends are nan for a single seed."""
    return t_interval(values)


def ranked(found: Mapping[tuple[str, str], Interval], candidates: Sequence[str], rule: RuleConfig) -> list[str]:
    """The candidates that keep to the limits of the rule, the best first; equal ones in the order of the study."""

    def keeps(cell: str) -> bool:
        spread, drift = found.get((cell, DIVERSITY)), found.get((cell, DRIFT))
        return (
            (cell, rule.figure) in found
            and (spread is None or 1 + spread.value / 100 >= rule.least_diversity)
            and (drift is None or drift.value <= rule.most_drift)
        )

    return sorted(filter(keeps, candidates), key=lambda cell: found[cell, rule.figure].value)
