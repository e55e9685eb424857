"""Lists of work for people who judge: those of `adhmr review --sample`, as they were when somebody began with one.

An address names a list by its sampling and by how many rows its reviewer had written then. So it means the same pairs
after each verdict, to whoever goes back, and to a server that was started anew.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

from infra.listing import Listing
from infra.reviews import PairName, Reviewed, history, standing_rows
from infra.store import Store
from schemas.errors import DataError, named
from tasks.review.worklist import PAIR, SAMPLINGS

MOST: Final = 1000
"""Pairs of a list."""
_KEPT: Final = 32
_DIGEST: Final = f"sha256(concat_ws(chr(10), stage_key, instance_id, winner, loser)) AS {PAIR}"


class Work(NamedTuple):
    """A pair that is to be judged, and what the scorer thinks of it."""

    pair: PairName
    generation: str
    strategy: str
    margin: float | None
    winner_score: float | None
    loser_score: float | None


class WorkLists:
    """The lists of one store. Any thread may ask."""

    def __init__(self, store: Store, listing: Listing) -> None:
        self._store, self._listing = store, listing
        self.sampled = lru_cache(_KEPT)(self._sampled)

    def rows_of(self, reviewer: str) -> list[Reviewed]:
        """All that a reviewer has ever said, in that order."""
        return [one for one in history(self._store) if one.review.reviewer == reviewer]

    def one(self, pair: PairName) -> Work:
        """A pair by its name. DataError where there is none."""
        self._listing.need("pairs", [pair.stage_key])
        where = "stage_key = ? AND instance_id = ? AND winner = ? AND loser = ?"
        found = self._listing.rows(f"SELECT * FROM pairs WHERE {where}", pair)
        if not found:
            raise DataError(f"There is no pair {pair.unit} in {pair.stage_key[:12]}.")
        return _work(found[0])

    def _sampled(self, pairs: tuple[str, ...], how: str, count: int, reviewer: str, since: int) -> tuple[Work, ...]:
        """The first `count` pairs of these stages by a sampling, without those of which the first `since` rows of the
        reviewer said something that held then. DataError for another sampling."""
        column = named(SAMPLINGS, how, "sampling").column
        before = [one for one in self.rows_of(reviewer) if one.sequence <= since]
        judged = [one.review.pair.digest for one in standing_rows(before) if one.review.pair.stage_key in pairs]
        self._listing.need("pairs", pairs)
        of_stages = f"stage_key IN ({', '.join('?' for _ in pairs)})"
        values: list[Any] = [*pairs]
        if column != PAIR:  # digests are asked of few: of those that may be among the first, with all that are alike
            first = f"SELECT {column} FROM pairs WHERE {of_stages} ORDER BY {column} NULLS LAST LIMIT ?"
            of_stages += f" AND ({column} IS NULL OR {column} <= (SELECT max({column}) FROM ({first})))"
            values += [*pairs, count + len(judged)]
        rows = self._listing.rows(
            f"SELECT * FROM (SELECT *, {_DIGEST} FROM pairs WHERE {of_stages}) "
            f"WHERE {PAIR} NOT IN (SELECT unnest(?::VARCHAR[])) ORDER BY {column} NULLS LAST, {PAIR} LIMIT ?",
            [*values, judged, count],
        )
        return tuple(map(_work, rows))


def _work(row: dict[str, Any]) -> Work:
    pair = PairName(row["stage_key"], row["instance_id"], row["winner"], row["loser"])
    scores = (row[name] for name in ("margin", "winner_score", "loser_score"))
    return Work(pair, row["generation_id"], row["strategy"], *scores)
