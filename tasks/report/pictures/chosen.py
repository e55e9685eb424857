"""Which held-out people a page shows: a dozen whom no result decides, and a dozen at each end of what changed."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Final

import numpy as np

from tasks.compare import EvaluationTable

EACH: Final = 12
"""People of a list, at most."""
IN_3D: Final = 8

Ranked = Mapping[str, Sequence[str]]
"""The people of each list (`content.PEOPLE_LISTS`), in its order."""


def ranked(first: Sequence[str], before: EvaluationTable | None, after: EvaluationTable | None) -> Ranked:
    """Whom a page shows. `first` are the first by name.

    Improved and worsened are those whose zero-noise MPVPE fell or rose most, disputed those whose hypotheses, by the
    policy after or the only one, lie farthest apart.
    """
    lists: dict[str, list[str]] = {"first": list(first[:EACH])}
    if before is not None and after is not None:
        changes = changes_mm(before, after)
        by_change = sorted(changes, key=lambda name: (changes[name], name))
        lists["improved"] = [name for name in by_change[:EACH] if changes[name] < 0]
        lists["worsened"] = [name for name in by_change[::-1][:EACH] if changes[name] > 0]
    newest = after or before
    if newest is not None:
        apart = dict(zip(newest.ids, newest.diversity.tolist(), strict=True))
        lists["disputed"] = sorted(apart, key=lambda name: (-apart[name], name))[:EACH]
    return lists


def lists_of(lists: Ranked) -> dict[str, list[str]]:
    """Everybody on a list, sorted by name, with the lists that they are on."""
    everybody = sorted({name for members in lists.values() for name in members})
    return {name: [listed for listed, members in lists.items() if name in members] for name in everybody}


def shown_in_3d(lists: Ranked) -> list[str]:
    """The first of each list, then the second, and so on, until there are enough."""
    by_turns = (name for place in zip_longest(*lists.values()) for name in place if name is not None)
    return list(dict.fromkeys(by_turns))[:IN_3D]


def changes_mm(before: EvaluationTable, after: EvaluationTable) -> dict[str, float]:
    """By person the zero-noise MPVPE after less before, in mm, of those whom both have."""
    errors = [dict(zip(one.ids, one.errors["mpvpe"][:, 0].tolist(), strict=True)) for one in (before, after)]
    changes = {name: errors[1][name] - error for name, error in errors[0].items() if name in errors[1]}
    return {name: change for name, change in changes.items() if np.isfinite(change)}
