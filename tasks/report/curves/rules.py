"""The rules of the curve doctor: pure functions over curves and metrics, each of one thing that is known to go wrong.

A rule gives the rows that show it, none where it is not so, or says what it lacks. A curve *rises* where the middle
half of its last window lies wholly above that of its first, as the page shades them, where its points as a whole go up
with the steps beyond chance, and by no trifle: so the noise of batches is no rise. A number is *clearly* something
where its whole interval is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from models.statistics import Interval
from schemas.ids import Target
from tasks.report.curves.findings import Row
from tasks.report.curves.lines import LegCurves, Line
from tasks.report.windows import windows
from tasks.rows.metrics import DIVERSITY, Metric

AT_THE_REFERENCE: Final[Mapping[str, float]] = dict.fromkeys(("dpo", "anchored_dpo", "sdpo", "group"), 2 * math.log(2))
"""What the preference loss of an objective is where nothing was learned: log 2 for each of its two terms, joints and
twists. Those of other objectives begin elsewhere (docs/method.md)."""
STUCK_ABOVE: Final = 0.98
"""Share of that value, above which the last window says that nothing was learned."""
CHANCE: Final = 0.001
"""How probable a rank correlation of steps and values may be, if there was no rise."""
TRIFLE: Final = 0.01
"""Share of a denoising error, below which a rise of it is none."""


@dataclass(frozen=True)
class Evidence:
    """What the rules look at, of one round."""

    objective: str
    legs: Sequence[LegCurves] = ()
    metrics: Mapping[tuple[str, str, Target], Metric] | None = None
    """By name, role and split, of the round's comparison."""
    validation: Sequence[Target] = ()
    """The splits that gates read, on which errors and diversity are looked at."""
    score_changes: Mapping[Target, Interval] | None = None
    """The scorer's score of the zero-noise sample, after less before, by split; paired over people."""
    min_diversity: float = 0.75
    """As of `gates.min_diversity`."""


class Lacks(NamedTuple):
    """Why a rule could not look."""

    what: str


Look = Callable[[Evidence], Sequence[Row] | Lacks]


class _Ends(NamedTuple):
    """The first and the last window of a line, as rows."""

    first: Row
    last: Row
    rises: bool

    @property
    def rows(self) -> tuple[Row, Row]:
        return self.first, self.last


def both_errors_rise(seen: Evidence) -> Sequence[Row] | Lacks:
    """The denoising errors of winners and of losers both rise, so that the policy forgets what poses look like."""
    return _over_legs(seen, lambda winner, loser: winner.rises and loser.rises)


def winners_error_rises(seen: Evidence) -> Sequence[Row] | Lacks:
    """That of winners alone rises: the policy moves away from what it is to learn."""
    return _over_legs(seen, lambda winner, loser: winner.rises and not loser.rises)


def loss_is_stuck(seen: Evidence) -> Sequence[Row] | Lacks:
    """The preference loss ends where it would be without any training."""
    start = AT_THE_REFERENCE.get(seen.objective)
    if start is None:
        return Lacks(f"the loss of {seen.objective} does not begin at log 2 per term")
    rows: list[Row] = []
    looked = False
    for leg in seen.legs:
        ends = _ends(leg, "preference", leg.lines.get("preference"), seen)
        if ends is not None:
            looked = True
            rows += ends.rows if ends.last.value >= STUCK_ABOVE * start else []
    return rows if looked else _few_points()


def margin_without_error(seen: Evidence) -> Sequence[Row] | Lacks:
    """The margin between losers' and winners' denoising errors rises, while no error in mm clearly falls."""
    errors = _errors(seen)
    if isinstance(errors, Lacks):
        return errors
    margins = []
    for leg in seen.legs:
        loser, winner = (leg.lines.get(name) for name in ("loser_change", "winner_change"))
        if loser is None or winner is None or len(loser.steps) != len(winner.steps):
            continue
        ends = _ends(leg, "loser_change − winner_change", Line(loser.steps, loser.values - winner.values), seen)
        margins += [] if ends is None else [ends]
    if not margins:
        return _few_points()
    risen = [row for ends in margins if ends.rises for row in ends.rows]
    return [*risen, *errors] if risen and not any(_limits(row)[1] < 0 for row in errors) else []


def score_without_error(seen: Evidence) -> Sequence[Row] | Lacks:
    """The scorer's score clearly rises on held-out people, while their error does not clearly fall."""
    rows: list[Row] = []
    looked = False
    for target in seen.validation:
        score = (seen.score_changes or {}).get(target)
        error = _metric(seen, "zero_noise_mpvpe", "change", target)
        if score is None or error is None or not np.isfinite(score).all():
            continue
        looked = True
        if score.low > 0 and _limits(error)[1] >= 0:
            rows += [
                Row("score of the zero-noise sample", f"{target}, change", score.value, score.low, score.high),
                error,
            ]
    return rows if looked else Lacks("no scores and errors of held-out people before and after")


def diversity_collapses(seen: Evidence) -> Sequence[Row] | Lacks:
    """Another round that takes as much of the diversity would end below the limit of the gate."""
    rows: list[Row] = []
    looked = False
    for target in seen.validation:
        change = _metric(seen, DIVERSITY, "change", target)
        share = _metric(seen, DIVERSITY, "share_of_first", target)
        if change is None or share is None:
            continue
        looked = True
        mildest = _limits(change)[1]
        if mildest < 0 and _limits(share)[1] * (1 + mildest / 100) < seen.min_diversity:
            rows += [change, share]
    return rows if looked else Lacks("no diversity of held-out people before and after")


def _over_legs(seen: Evidence, is_so: Callable[[_Ends, _Ends], bool]) -> Sequence[Row] | Lacks:
    """The ends of the winner's and the loser's error in the legs of which it is so."""
    rows: list[Row] = []
    looked = False
    for leg in seen.legs:
        compared = "winner_change" in leg.lines  # an objective without a reference has the errors themselves
        names = ("winner_change", "loser_change") if compared else ("winner", "loser")
        winner, loser = (_ends(leg, name, leg.lines.get(name), seen) for name in names)
        if winner is not None and loser is not None:
            looked = True
            rows += [*winner.rows, *loser.rows] if is_so(winner, loser) else []
    return rows if looked else _few_points()


def _ends(leg: LegCurves, name: str, line: Line | None, seen: Evidence) -> _Ends | None:
    """None where the line has too few points for two windows, or a window has no number."""
    if line is None:
        return None
    drawn = windows(line.steps, line.values)
    if drawn.points == 1 or len(line.steps) < 2 * drawn.points:
        return None
    of_leg = f"leg {leg.leg}, " if len(seen.legs) > 1 else ""
    places = ((0, slice(drawn.points)), (-1, slice(-drawn.points, None)))
    first, last = (
        Row(
            name,
            f"{of_leg}steps {line.steps[part][0]} to {line.steps[part][-1]}",
            float(drawn.median[place]),
            float(drawn.low[place]),
            float(drawn.high[place]),
        )
        for place, part in places
    )
    if not all(math.isfinite(number) for row in (first, last) for number in (row.value, *_limits(row))):
        return None
    apart = _limits(last)[0] > _limits(first)[1] and last.value - first.value >= TRIFLE * _size(leg)
    return _Ends(first, last, apart and _goes_up(line))


def _goes_up(line: Line) -> bool:
    """Whether the points of a line, which is not level, go up with the steps beyond chance."""
    known = np.isfinite(line.values)
    going = stats.spearmanr(line.steps[known], line.values[known], alternative="greater")
    return bool(going.pvalue < CHANCE)


def _size(leg: LegCurves) -> float:
    """What denoising errors of the leg are about, if that was noted."""
    line = leg.lines.get("winner")
    return 0.0 if line is None or not np.isfinite(line.values).any() else float(np.nanmedian(np.abs(line.values)))


def _errors(seen: Evidence) -> list[Row] | Lacks:
    """The changes of the errors that a preference could make smaller, on all splits that gates read."""
    rows = [
        row
        for target in seen.validation
        for name in ("zero_noise_mpvpe", "expected_mpvpe")
        if (row := _metric(seen, name, "change", target)) is not None
    ]
    return rows or Lacks("no errors of held-out people before and after")


def _metric(seen: Evidence, name: str, role: str, target: Target) -> Row | None:
    one = (seen.metrics or {}).get((name, role, target))
    if one is None or one.low is None or one.high is None:
        return None
    unit = "none" if one.unit == "1" else one.unit
    return Row(name, f"{target}, {role.replace('_', ' ')}", one.value, one.low, one.high, unit)


def _limits(row: Row) -> tuple[float, float]:
    """The interval of a row that has one."""
    assert row.low is not None
    assert row.high is not None
    return row.low, row.high


def _few_points() -> Lacks:
    return Lacks("no curves with points enough for two windows")
