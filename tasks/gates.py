"""Gates: the conditions that a round must keep, each as a verdict. Not to pass is an outcome, not an error."""

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pyarrow.compute as pc

from infra.shards import Tally
from infra.store import Store
from infra.tables import read
from models.statistics import Interval
from schemas.config.stages import GateConfig
from schemas.errors import DataError
from schemas.ids import StageKey, Target
from tasks.rows.metrics import (
    BEYOND,
    BONES,
    DIVERSITY,
    SCORE,
    WATCHED_ERROR,
    WATCHED_FIGURES,
    WATCHED_JUDGE,
    WATCHED_SCORE,
    Metric,
)

When = Literal["before training", "before promotion"]
BEFORE_TRAINING: When = "before training"
BEFORE_PROMOTION: When = "before promotion"
PAIRS = "pairs"
"""The gate on their number."""


@dataclass(frozen=True)
class GateVerdict:
    """What was measured, what it had to be, and whether it was."""

    name: str
    when: When
    value: float
    unit: str
    limit: str
    """In words: "at least 0.30"."""
    passed: bool
    low: float | None = None
    high: float | None = None
    note: str = ""

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "NOT passed"
        unit = f" {self.unit}" if self.unit not in ("1", "score") else ""
        return f"{self.name}: {self.value:.4g}{unit}, {self.limit}: {verdict}"


def all_passed(verdicts: Sequence[GateVerdict]) -> bool:
    """Whether every gate passed."""
    return all(verdict.passed for verdict in verdicts)


def why_not(verdicts: Sequence[GateVerdict]) -> str:
    """The gates that did not pass, in one line; empty if all did."""
    return "; ".join(str(verdict) for verdict in verdicts if not verdict.passed)


def margins_of(store: Store, pair_key: StageKey) -> np.ndarray:
    """Score of the winner minus score of the loser of each pair of a finished stage; nan where one is unknown."""
    margins = read(store, "pairs", stage_keys=[pair_key], columns=["margin"]).column("margin")
    values: np.ndarray = pc.fill_null(margins, math.nan).to_numpy()
    return values


def gates_before_training(
    config: GateConfig,
    margins: np.ndarray,
    spearman: Interval | None,
    tallies: Mapping[str, Tally],
    pairs: int | None = None,
) -> tuple[GateVerdict, ...]:
    """Whether these pairs are worth training on.

    Args:
        margins: (P,) of the round's pairs, `margins_of`.
        spearman: the scorer's rank correlation within an instance on validation hypotheses of the current policy,
            `compare.ranking`; nan counts as no correlation at all. None where nothing is held out for it: no gate then.
        tallies: how the units of the round's stages ended, by stage name.
        pairs: how many are trained on, where that are not all of `margins`.
    """
    scored = margins[~np.isnan(margins)]  # a label that wins has no score
    margin = float(np.mean(scored)) if len(scored) else math.nan
    sane = bool(np.isfinite(scored).all()) if len(scored) else False
    verdicts = [
        _at_least(PAIRS, len(margins) if pairs is None else pairs, config.min_pairs, "pairs", BEFORE_TRAINING),
        _at_least(
            "mean margin",
            margin,
            config.min_margin,
            "score",
            BEFORE_TRAINING,
            note="" if sane else "some margins are unknown",
        ),
    ]
    if spearman is not None:
        verdicts.append(
            _at_least(
                "scorer's Spearman within an instance",
                spearman.value,
                config.min_spearman,
                "1",
                BEFORE_TRAINING,
                interval=spearman,
                note="on validation hypotheses of the current policy",
            )
        )
    for stage, tally in tallies.items():
        share = tally.failed / tally.total if tally.total else 0.0
        note = f"{tally.failed} of {tally.total} units"
        verdicts.append(
            _at_most(f"failed share of {stage}", share, config.max_failed_share, "1", BEFORE_TRAINING, note)
        )
    return tuple(verdicts)


def gates_of_kept_labels(kept: int, note: str) -> tuple[GateVerdict, ...]:
    """Whether a filter kept any label to train on; the `note` says why it did not."""
    return (_at_least("labels kept", kept, 1, "labels", BEFORE_TRAINING, note),)


def gates_before_promotion(
    config: GateConfig, metrics: Sequence[Metric], validation: Sequence[Target], drift: Sequence[Target]
) -> tuple[GateVerdict, ...]:
    """Whether the new policy may become current, by the splits `validation` and, for drift alone, `drift`.

    `metrics` are those of a comparison (`metric.read_metrics`). DataError where one that a gate reads is not there.
    """
    of_gain = (verdict for target in validation for verdict in _of_gain(config, metrics, target))
    return (*of_gain, *(verdict for target in drift for verdict in _of_drift(config, metrics, target)))


def _of_gain(config: GateConfig, metrics: Sequence[Metric], validation: Target) -> Iterator[GateVerdict]:
    zero = _find(metrics, "zero_noise_mpvpe", "change", validation)
    best = _find(metrics, "best_of_m_mpvpe", "change", validation)
    spread = _find(metrics, DIVERSITY, "share_of_first", validation)
    below = zero.high is not None and zero.high < 0
    on = f"on {validation}"
    limit = "interval wholly below 0 %"
    yield GateVerdict(
        "zero-noise MPVPE, change", BEFORE_PROMOTION, zero.value, "%", limit, below, zero.low, zero.high, on
    )
    yield _at_most("best of M, MPVPE, change", best.value, config.best_of_m_change, "%", BEFORE_PROMOTION, on, best)
    yield _at_least(
        "diversity over the first policy's", spread.value, config.min_diversity, "1", BEFORE_PROMOTION, on, spread
    )


def gates_for_a_judge(config: GateConfig, people: Mapping[Target, int]) -> tuple[GateVerdict, ...]:
    """Whether of every split that is learned from enough `people` are set aside for a judge to decide by."""
    return tuple(
        _at_least("people for the judge", count, config.min_judged, "people", BEFORE_TRAINING, note=f"of {target}")
        for target, count in people.items()
    )


def gates_of_a_judge(
    config: GateConfig, metrics: Sequence[Metric], targets: Sequence[Target]
) -> tuple[GateVerdict, ...]:
    """Whether the new policy may become current where no labels say it: by what a judge says of each of these splits.

    `metrics` are those of the stage `judge`. DataError where one that a gate reads is not there.
    """
    return tuple(verdict for target in targets for verdict in _of_judge(config, metrics, target))


def _of_judge(config: GateConfig, metrics: Sequence[Metric], target: Target) -> Iterator[GateVerdict]:
    score, beyond, bones = (_find(metrics, name, "change", target) for name in (SCORE, BEYOND, BONES))
    least, on = config.min_judge_rise, f"on {target}, people set aside"
    levels = {
        name: tuple(_find(metrics, name, role, target).value for role in ("before", "after"))
        for name in (BEYOND, BONES)
    }
    above = score.low is not None and score.low > least
    limit = f"interval wholly above {least:g}"
    name = "judge's score, zero noise, rise"
    yield GateVerdict(name, BEFORE_PROMOTION, score.value, "score", limit, above, score.low, score.high, on)
    for name, change, most, (before, after) in (
        ("bodies beyond joint limits, rise", beyond, config.max_beyond_limits, levels[BEYOND]),
        ("miss of bone lengths, rise", bones, config.max_bone_miss, levels[BONES]),
    ):
        # only the rise is limited, and nothing rises where all bodies were impossible before
        note = f"{on}; from {before:.1f} to {after:.1f} %"
        yield _at_most(name, change.value, most, "percentage points", BEFORE_PROMOTION, note, change)


def gates_of_a_watch(metrics: Sequence[Metric], targets: Sequence[Target]) -> tuple[GateVerdict, ...]:
    """Whether the true error falls, and a judge's score rises, where the scorer's score rises on one of these splits.

    `metrics` are those of the stage `watch`, which has errors or a judge as far as there are labels or one. DataError
    where a score that a gate reads is not there.
    """
    return tuple(
        verdict for target in targets for figure in WATCHED_FIGURES for verdict in _of_watch(metrics, target, figure)
    )


def _of_watch(metrics: Sequence[Metric], target: Target, figure: str) -> Iterator[GateVerdict]:
    score = _find(metrics, f"{WATCHED_SCORE}_{figure}", "change", target)
    rises = score.low is not None and score.low > 0
    note = f"on {target}; the scorer's score {'rises' if rises else 'does not clearly rise'}, by {score.value:+.3f}"
    words = figure.replace("_", "-")
    for name, title, limit in (
        (WATCHED_ERROR, f"{words} MPVPE beside the score", "interval wholly below 0 % where the score rises"),
        (WATCHED_JUDGE, f"judge's {words} score beside the score", "interval wholly above 0 where the score rises"),
    ):
        followed = _found(metrics, f"{name}_{figure}", "change", target)
        if followed is None:
            continue
        low, high = followed.low, followed.high
        follows = high is not None and high < 0 if name == WATCHED_ERROR else low is not None and low > 0
        passed = follows or not rises
        yield GateVerdict(title, BEFORE_PROMOTION, followed.value, followed.unit, limit, passed, low, high, note)


def _of_drift(config: GateConfig, metrics: Sequence[Metric], source: Target) -> Iterator[GateVerdict]:
    for name, words in (("drift", "zero noise"), ("drift_expected", "expected")):
        drift = _find(metrics, name, "change", source)
        title = f"drift on {source.dataset}, {words}"
        yield _at_most(title, drift.value, config.max_drift, "%", BEFORE_PROMOTION, f"on {source}", drift)


def _limited(
    words: str,
    holds: Callable[[float, float], bool],
    name: str,
    value: float,
    limit: float,
    unit: str,
    when: When,
    note: str = "",
    interval: Interval | Metric | None = None,
) -> GateVerdict:
    suffix = " %" if unit == "%" else ""
    low, high = (interval.low, interval.high) if interval is not None else (None, None)
    return GateVerdict(name, when, value, unit, f"{words} {limit:g}{suffix}", holds(value, limit), low, high, note)


_at_least = partial(_limited, "at least", operator.ge)
_at_most = partial(_limited, "at most", operator.le)


def _find(metrics: Sequence[Metric], name: str, role: str, target: Target) -> Metric:
    found = _found(metrics, name, role, target)
    if found is not None:
        return found
    raise DataError(f"No metric {name} with role {role} on {target}: what was compared must hold both policies on it.")


def _found(metrics: Sequence[Metric], name: str, role: str, target: Target) -> Metric | None:
    wanted = (name, role, target)
    return next((metric for metric in metrics if (metric.name, metric.role, metric.target) == wanted), None)
