"""Which of many files may hold some ids: found by halving, whatever their number, and not by looking at each."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from infra.data_files import IdRange


class FileRanges:
    """The bounds of files, which are given in the order of the lower ones, those without bounds last.

    Ranges may overlap. A file without bounds may hold any id.
    """

    def __init__(self, ranges: Sequence[IdRange | None]) -> None:
        bounded = [one for one in ranges if one is not None]
        self._unbounded = list(range(len(bounded), len(ranges)))
        self._lows = [one.low for one in bounded]
        self._highs = [one.high for one in bounded]
        self._reach = list(accumulate(self._highs, max))
        """The highest id of each file and of all before it: no file before the first that reaches an id holds it."""

    def may_hold(self, ids: Sequence[str]) -> list[int]:
        """The places of files that may hold one of `ids`, which are sorted."""
        if not ids:
            return []
        first, after = bisect_left(self._reach, ids[0]), bisect_right(self._lows, ids[-1])
        return [place for place in range(first, after) if self._spans(place, ids)] + self._unbounded

    def _spans(self, place: int, ids: Sequence[str]) -> bool:
        at = bisect_left(ids, self._lows[place])
        return at < len(ids) and ids[at] <= self._highs[place]
