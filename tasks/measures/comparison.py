"""Two evaluations side by side by any measures, paired over people; and the same over the stores of several seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.statistics import Interval, Resampled, resample, t_interval
from schemas.errors import DataError
from schemas.ids import Target
from tasks.measures.columns import Columns
from tasks.measures.table import Measure

Floats = NDArray[np.float64]


class Change(NamedTuple):
    """A measure before and after, of the same people."""

    measure: Measure
    before: Interval
    after: Interval
    change: Interval | None
    """In the measure's `change_unit`; None where it is relative to nothing."""
    n: int
    """People who have it in both."""


def common(of: Sequence[Columns]) -> list[Columns]:
    """The same evaluations, of the people alone whom all of them have. DataError where there is none, or where they
    drew different numbers of samples, whose best ones can't be compared."""
    drawn = sorted({columns.samples for columns in of})
    if len(drawn) > 1:
        raise DataError(
            f"The evaluations drew {' and '.join(map(str, drawn))} random samples of each person, so that their best "
            "of M and their spread are not alike: evaluate both with the same evaluate.generate.hypotheses."
        )
    ids = sorted(set(of[0].ids).intersection(*(columns.ids for columns in of[1:])))
    if not ids:
        raise DataError("The evaluations have no person in common; see the table failures.")
    return [columns.among(ids) for columns in of]


def changes(measures: Iterable[Measure], before: Columns, after: Columns, resamples: int, seed: int) -> list[Change]:
    """The measures that both have numbers of; `before` and `after` hold the same people."""
    found = []
    for measure in measures:
        rows = numbers(measure, before, after)
        if rows is not None:
            drawn, n = resample(np.concatenate(rows), resamples, seed), rows[0].shape[1]
            old, new = (drawn.interval(level_of(measure, place)) for place in (0, 1))
            found.append(Change(measure, old, new, change_of(measure, drawn, 0, 1), n))
    return found


def numbers(measure: Measure, *of: Columns) -> tuple[Floats, ...] | None:
    """Of each evaluation the measure's numbers (columns, N), of the people who have all of them; None for nobody."""
    if any(name not in columns.values for columns in of for name in measure.of):
        return None
    rows = [np.stack([columns.values[name] for name in measure.of]) for columns in of]
    known = ~np.isnan(np.concatenate(rows)).any(axis=0)
    return tuple(row[:, known] for row in rows) if known.any() else None


def level_of(measure: Measure, place: int) -> Callable[[Floats], Floats]:
    """The measure itself, of the evaluation at this place among those whose numbers were resampled together."""
    return lambda means: measure.value(_of(measure, means, place))


def difference_of(measure: Measure, place: int, than: int) -> Callable[[Floats], Floats]:
    """Its change from the evaluation at the place `than` to another."""
    return lambda means: measure.change(_of(measure, means, than), _of(measure, means, place))


def gap_of(measure: Measure, place: int, other: int, than: int) -> Callable[[Floats], Floats]:
    """The change from `than` to the evaluation at `place`, less that to the `other` one."""
    own, theirs = difference_of(measure, place, than), difference_of(measure, other, than)
    return lambda means: own(means) - theirs(means)


def change_of(measure: Measure, drawn: Resampled, old: int, new: int) -> Interval | None:
    """The change from one evaluation to another of those resampled; None where it is relative to nothing."""
    before = _of(measure, drawn.mean, old)[:, 0]
    if (measure.is_relative and before[0] <= 0) or (len(before) > 1 and before[1] <= 0):
        return None
    return drawn.interval(difference_of(measure, new, old))


def _of(measure: Measure, means: Floats, place: int) -> Floats:
    width = len(measure.of)
    return means[place * width : (place + 1) * width]


class OverSeeds(NamedTuple):
    """A change over the stores of several seeds."""

    measure: Measure
    before: float
    after: float
    change: Interval
    """Mean of the seeds' changes, with Student's interval."""
    of_seeds: tuple[float, ...]


def over_seeds(found: Sequence[Mapping[Target, Sequence[Change]]]) -> dict[Target, list[OverSeeds]]:
    """What comparisons of several seeds come to, of the splits and measures that all of them have."""
    together: dict[Target, list[OverSeeds]] = {}
    for target in found[0]:
        if not all(target in other for other in found):
            continue
        by_name = [{one.measure.name: one for one in other[target] if one.change is not None} for other in found]
        shared = [name for name in by_name[0] if all(name in other for other in by_name)]
        together[target] = [_over([other[name] for other in by_name]) for name in shared]
    return together


def _over(of: Sequence[Change]) -> OverSeeds:
    values = tuple(one.change.value for one in of if one.change is not None)
    before, after = (float(np.mean([getattr(one, side).value for one in of])) for side in ("before", "after"))
    return OverSeeds(of[0].measure, before, after, t_interval(values), values)
