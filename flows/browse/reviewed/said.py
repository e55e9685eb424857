"""What people have said of pairs until now: for lists, which filter by it, and for the cards of pairs."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from flows.browse.paging import Condition
from infra.listing import REVIEWED, Listing
from infra.reviews import ACCEPT, REJECT, SWAP, PairName, Review, latest
from infra.snapshots import newest
from infra.store import Store
from tasks.review.verdicts import majority

MOST: Final = ""
"""In the place of a reviewer's name: what most of them say."""
DIVIDED: Final = "divided"
JUDGED: Final = "judged"
NOT_JUDGED: Final = "open"
FILTERS: Final = {
    JUDGED: "judged",
    NOT_JUDGED: "not judged",
    SWAP: "disagree: swapped",
    ACCEPT: "agree: accepted",
    REJECT: "rejected",
    DIVIDED: "reviewers are divided",
}
"""What pairs may be filtered by, and the words for it."""
_COLUMNS: Final = ("stage_key", "instance_id", "winner", "loser")


class Verdicts:
    """What is said now of the pairs of a store, as tables have it and as the list REVIEWED."""

    def __init__(self, store: Store, listing: Listing) -> None:
        self._store, self._listing = store, listing
        self._lock = threading.Lock()
        self._said: tuple[int, Mapping[str, Mapping[str, Review]]] | None = None

    def now(self) -> Mapping[str, Mapping[str, Review]]:
        """By the pair's digest, then by reviewer; the list has it, too."""
        with self._lock:
            version = newest(self._store, "reviews").version
            if self._said is None or self._said[0] != version:
                said = latest(self._store)
                if said or self._said is not None:  # the list begins empty
                    self._listing.replace(REVIEWED, _rows(said))
                self._said = version, said
            return self._said[1]

    def reviewers(self, keys: Iterable[str | None]) -> list[str]:
        """Who has said something of pairs of these stages."""
        wanted = set(keys)
        by_pair = (by for by in self.now().values() if next(iter(by.values())).pair.stage_key in wanted)
        return sorted({name for by in by_pair for name in by})

    def condition(self, said: str, reviewer: str) -> Condition:
        """Of rows of the list `pairs`: of whom this was `said` (of FILTERS; empty: anything), by a reviewer, or by most
        of them."""
        self.now()
        of_reviewer = f"SELECT {', '.join(_COLUMNS)} FROM {REVIEWED} WHERE reviewer = ?"
        here = f"({', '.join(_COLUMNS)})"
        if not said:
            return Condition(f"{here} IN ({of_reviewer})", (reviewer,))
        if said in (JUDGED, NOT_JUDGED):
            which = "NOT IN" if said == NOT_JUDGED else "IN"
            return Condition(f"{here} {which} ({of_reviewer} AND verdict <> ?)", (reviewer, DIVIDED))
        return Condition(f"{here} IN ({of_reviewer} AND verdict = ?)", (reviewer, said))

    def of_rows(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows of pairs with what is said of each: `said`, reviews by their reviewers' names."""
        now = self.now()
        found = []
        for row in rows:
            by = now.get(PairName(*(row[name] for name in _COLUMNS)).digest, {})
            found.append({**row, "said": [by[name] for name in sorted(by)]})
        return found


def _rows(said: Mapping[str, Mapping[str, Review]]) -> pa.Table:
    """A row for each reviewer of each pair, and one for what most of them say."""
    rows: list[tuple[Any, ...]] = []
    for by in said.values():
        verdicts = {name: one.verdict for name, one in by.items()}
        verdicts[MOST] = majority(list(verdicts.values())) or DIVIDED
        pair = next(iter(by.values())).pair
        rows += [(*pair, name, verdict) for name, verdict in verdicts.items()]
    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * 6
    texts, numbers = pa.string(), pa.int32()
    types = [texts, texts, numbers, numbers, texts, texts]
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, types, strict=True)]
    return pa.Table.from_arrays(arrays, names=[*_COLUMNS, "reviewer", "verdict"])
