"""What people said of pairs: the table `reviews`, whose rows only ever come on top of others.

A verdict is a row; taking one back is a row as well, which names the row that it withdraws, so that the one before it
holds again. `pairs` itself is never changed. The rows of a reviewer have one order: each commit claims the reviewer's
next positions, as a campaign's log of rounds does, so that of two processes that speak for one reviewer each comes
before the other or after it. Every row has an id that whoever writes it chooses: committed again, after a kill or by
a second press of a button, it is there already and nothing is written.
"""

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from infra import faults
from infra.stages import append_rows, now
from infra.store import Store
from infra.table_rows import read_files
from infra.tables import live_files, read
from schemas.digests import digest
from schemas.errors import DataError, StoreError
from schemas.tables import contract

ACCEPT: Final = "accept"
SWAP: Final = "swap"
REJECT: Final = "reject"
VERDICTS: Final = (ACCEPT, SWAP, REJECT)
"""The winner is better; the loser is; neither can be said, or both are useless."""
WITHDRAWN: Final = "withdrawn"
"""The verdict of a row that takes another back."""
LONGEST_NAME: Final = 100
LONGEST_NOTE: Final = 2000
_ATTEMPTS: Final = 30


class PairName(NamedTuple):
    """A pair of the table `pairs`: a stage that made it, a person, and the places of two hypotheses."""

    stage_key: str
    """The pair's `pair_set`."""
    instance_id: str
    winner: int
    loser: int

    @property
    def digest(self) -> str:
        """64 hex digits; in SQL, of `pairs`, sha256(concat_ws(chr(10), pair_set, instance_id, winner, loser))."""
        return hashlib.sha256("\n".join(map(str, self)).encode()).hexdigest()

    @property
    def unit(self) -> str:
        """The pair among those of its stage, for people: wild/train/00000001#0 3>15."""
        return unit_of(self.instance_id, self.winner, self.loser)


def unit_of(instance_id: str, winner: int, loser: int) -> str:
    """`PairName.unit` of a pair."""
    return f"{instance_id} {winner}>{loser}"


@dataclass(frozen=True)
class Review:
    """What somebody says of a pair, to be written. `review_id` makes it count once, however often it is added."""

    pair: PairName
    reviewer: str
    verdict: str
    note: str = ""
    seconds: float | None = None
    """How long it took them."""
    blind: bool = False
    """Whether they were not told which one won."""
    review_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    withdraws: str | None = None
    """Of a row that takes another back: the id of that."""


@dataclass(frozen=True)
class Reviewed:
    """A row of `reviews`: a review with its place."""

    review: Review
    sequence: int
    """Position among the rows of its reviewer, from 1."""
    round: int
    """Of the pair."""
    at: datetime


def add(store: Store, reviews: Sequence[Review]) -> int:
    """Write reviews, all in one commit; how many of them were not there before.

    Raises DataError, and writes nothing, for a pair that the store doesn't have and for what is no review: another
    verdict, an empty or overlong name, an id that stands for something else.
    """
    for review in reviews:
        _check(review)
    rounds = _rounds_of(store, {review.pair for review in reviews})
    for _ in range(_ATTEMPTS):
        written = history(store)
        known = {one.review.review_id: one.review for one in written}
        new = {review.review_id: review for review in reviews if review.review_id not in known}
        for review in reviews:
            first = known.get(review.review_id) or new[review.review_id]
            if (first.pair, first.reviewer, first.verdict) != (review.pair, review.reviewer, review.verdict):
                raise DataError(f"The id {review.review_id} is that of another review; give each an id of its own.")
        if not new:
            return 0
        rows, claims = _rows(list(new.values()), {one.review.reviewer: one.sequence for one in written}, rounds)
        if append_rows(store, "reviews", rows, claims, note=f"reviews: {len(rows)}"):
            faults.reach("committed:reviews")
            return len(rows)
    raise StoreError(f"Table reviews in {store.url}: other processes kept writing to it; try again.")


def withdraw(store: Store, reviewer: str, pair: str | None = None) -> Review | None:
    """Take back the newest verdict of a reviewer that holds, or the newest of theirs of a `pair` (its digest).

    Gives what was taken back; None, and nothing is written, where there is nothing of theirs.
    """
    given = [one for one in standing_rows(history(store)) if one.review.reviewer == reviewer]
    given = [one for one in given if pair is None or one.review.pair.digest == pair]
    if not given:
        return None
    last = max(given, key=lambda one: one.sequence).review
    take_back(store, last)
    return last


def take_back(store: Store, said: Review) -> bool:
    """Take back this verdict and no other, however often it is asked for; False where it was taken back before."""
    gone = digest(["withdraws", said.review_id])
    row = Review(said.pair, said.reviewer, WITHDRAWN, review_id=gone, withdraws=said.review_id)
    return bool(add(store, [row]))


def history(store: Store, stage_keys: Collection[str] | None = None) -> list[Reviewed]:
    """All rows, or those of pairs of some stages: each reviewer's in their order."""
    files = tuple(live_files(store, "reviews"))
    files_before, before = store.remembered.get("reviews", (None, []))
    rows: list[Reviewed] = before
    if files != files_before:  # files never change
        rows = sorted(map(_reviewed, read_files(store, contract("reviews"), files).to_pylist()), key=_place)
        store.remembered["reviews"] = (files, rows)
    return [one for one in rows if stage_keys is None or one.review.pair.stage_key in stage_keys]


def standing_rows(rows: Iterable[Reviewed]) -> list[Reviewed]:
    """Those that were not taken back, in their order; several of one reviewer and pair among them."""
    listed = list(rows)
    withdrawn = {one.review.withdraws for one in listed}
    return [one for one in listed if one.review.verdict != WITHDRAWN and one.review.review_id not in withdrawn]


def latest(store: Store, stage_keys: Collection[str] | None = None) -> dict[str, dict[str, Review]]:
    """What each reviewer says of each pair now: by the pair's digest, then by the reviewer."""
    said: dict[str, dict[str, Review]] = defaultdict(dict)
    for one in standing_rows(history(store, stage_keys)):
        said[one.review.pair.digest][one.review.reviewer] = one.review
    return dict(said)


def check_name(name: str) -> None:
    """DataError unless this can be a reviewer's name."""
    if not name or len(name) > LONGEST_NAME or name != name.strip() or not name.isprintable():
        raise DataError(
            f"{name[:LONGEST_NAME]!r} can't be a reviewer's name: 1 to {LONGEST_NAME} printable characters, no blanks "
            "at the ends."
        )


def _check(review: Review) -> None:
    if review.verdict not in (*VERDICTS, WITHDRAWN) or (review.verdict == WITHDRAWN) != (review.withdraws is not None):
        raise DataError(f"{review.verdict!r} is no verdict; there are {', '.join(VERDICTS)}.")
    check_name(review.reviewer)
    if len(review.note) > LONGEST_NOTE:
        raise DataError(f"A note has at most {LONGEST_NOTE} characters, not {len(review.note)}.")
    if review.seconds is not None and not 0 <= review.seconds < float("inf"):
        raise DataError(f"A review can't have taken {review.seconds} s.")


def _rounds_of(store: Store, pairs: Collection[PairName]) -> dict[PairName, int]:
    """The rounds that these pairs were made in. DataError where one is not in the store."""
    keys, people = {pair.stage_key for pair in pairs}, {pair.instance_id for pair in pairs}
    columns = ["pair_set", "instance_id", "winner", "loser", "round"]
    rows = read(store, "pairs", stage_keys=keys, ids=people, columns=columns)
    made_in = zip(*(rows.column(name).to_pylist() for name in columns), strict=True)
    rounds = {PairName(*name): number for *name, number in made_in}
    for pair in pairs:
        if pair not in rounds:
            raise DataError(f"There is no pair {pair.unit} of stage {pair.stage_key[:12]} in {store.url}.")
    return rounds


def _rows(
    reviews: Sequence[Review], ends: Mapping[str, int], rounds: Mapping[PairName, int]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows of reviews, and the positions that they claim."""
    at, last = now(), dict(ends)
    rows: list[dict[str, Any]] = []
    for review in reviews:
        last[review.reviewer] = last.get(review.reviewer, 0) + 1
        pair = review.pair
        rows.append(
            {
                "review_id": review.review_id,
                "reviewer": review.reviewer,
                "sequence": last[review.reviewer],
                "verdict": review.verdict,
                "pair": pair.digest,
                "stage_key": pair.stage_key,
                "round": rounds[pair],
                "instance_id": pair.instance_id,
                "winner": pair.winner,
                "loser": pair.loser,
                "note": review.note,
                "seconds": review.seconds,
                "blind": review.blind,
                "withdraws": review.withdraws,
                "reviewed_at": at,
            }
        )
    return rows, {f"reviews:{name}": last[name] for name in {review.reviewer for review in reviews}}


def _reviewed(row: Mapping[str, Any]) -> Reviewed:
    pair = PairName(row["stage_key"], row["instance_id"], row["winner"], row["loser"])
    alike = ("reviewer", "verdict", "note", "seconds", "blind", "review_id", "withdraws")
    return Reviewed(
        Review(pair, **{name: row[name] for name in alike}), row["sequence"], row["round"], row["reviewed_at"]
    )


def _place(one: Reviewed) -> tuple[str, int]:
    return one.review.reviewer, one.sequence
