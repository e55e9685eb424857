"""Reviews: each counts once, whoever writes beside it and whoever is killed; taking back is a row, never a removal."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from infra import reviews
from infra.deep import look_over
from infra.reviews import PairName, Review
from infra.store import Store
from infra.tables import live_files, read
from infra.views import query
from schemas.errors import DataError
from tests.infra.reviewing import accept_all, store_with_pairs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Store, list[PairName]]:
    return store_with_pairs(tmp_path / "store")


def start(store: Store, reviewer: str, pairs: list[PairName], go: Path, fault: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.infra.reviewing", store.url, reviewer, str(go)]
    environment = {**os.environ, **({"ADHMR_FAULT_AT": fault} if fault else {})}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write("".join(f"{pair.stage_key}\t{pair.instance_id}\n" for pair in pairs))
    process.stdin.close()
    return process


@pytest.mark.slow
def test_two_reviewers_at_once_one_killed_in_mid_commit_lose_and_double_nothing(
    made: tuple[Store, list[PairName]], tmp_path: Path
) -> None:
    """Of `anna` there are two processes, with the same reviews: one button that was pressed twice."""
    store, pairs = made
    go = tmp_path / "go"
    others = [start(store, "anna", pairs, go) for _ in range(2)]
    first, *later = ("append:reviews@3", "committed:reviews@2", "merge:reviews")
    dying = start(store, "ben", pairs, go, first)
    go.touch()
    assert dying.wait(120) == -signal.SIGKILL
    assert [start(store, "ben", pairs, go, fault).wait(120) for fault in later] == [-signal.SIGKILL] * 2
    again = start(store, "ben", pairs, go)
    assert [process.wait(120) for process in (*others, again)] == [0, 0, 0]

    rows = read(Store.open(store.url), "reviews").to_pylist()
    assert Counter(row["review_id"] for row in rows) == Counter(
        f"{name} {number}" for name in ("anna", "ben") for number in range(len(pairs))
    )
    for name in ("anna", "ben"):
        assert sorted(row["sequence"] for row in rows if row["reviewer"] == name) == list(range(1, len(pairs) + 1))
    assert {row["pair"] for row in rows} == {pair.digest for pair in pairs}
    looked = [one for one in look_over(store) if one.what == "reviews"]
    assert {one.level for one in looked} == {"good"}
    assert sum("none missing" in one.text for one in looked) == 2


def test_a_verdict_is_read_back_with_all_that_was_said(made: tuple[Store, list[PairName]]) -> None:
    store, pairs = made
    said = Review(pairs[0], "Anna", reviews.SWAP, "left arm; DROP TABLE pairs", 4.5, blind=True)
    assert reviews.add(store, [said]) == 1
    assert reviews.add(store, [said]) == 0
    (row,) = reviews.history(store)
    assert (row.review, row.sequence, row.round) == (said, 1, 1)
    assert row.at.tzinfo is not None
    assert reviews.latest(store) == {pairs[0].digest: {"Anna": said}}
    assert reviews.latest(store, [pairs[0].stage_key]) == reviews.latest(store)
    assert reviews.latest(store, ["another"]) == {}


def test_pairs_stay_as_they_are_and_have_the_same_digest_in_sql(made: tuple[Store, list[PairName]]) -> None:
    store, pairs = made
    files = live_files(store, "pairs")
    accept_all(store, "anna", pairs)
    assert live_files(store, "pairs") == files
    digests = query(store, "SELECT sha256(concat_ws(chr(10), pair_set, instance_id, winner, loser)) AS d FROM pairs")
    assert set(digests.column("d").to_pylist()) == {pair.digest for pair in pairs}


def test_the_newest_verdict_holds_until_it_is_taken_back(made: tuple[Store, list[PairName]]) -> None:
    store, (pair, other, *_) = made
    for verdict in (reviews.ACCEPT, reviews.REJECT):
        reviews.add(store, [Review(pair, "anna", verdict)])
    reviews.add(store, [Review(other, "anna", reviews.SWAP), Review(pair, "ben", reviews.SWAP)])

    def now() -> dict[str, str]:
        return {name: one.verdict for name, one in reviews.latest(store).get(pair.digest, {}).items()}

    assert now() == {"anna": reviews.REJECT, "ben": reviews.SWAP}
    taken = reviews.withdraw(store, "anna", pair.digest)
    assert taken is not None
    assert taken.verdict == reviews.REJECT
    assert now() == {"anna": reviews.ACCEPT, "ben": reviews.SWAP}
    assert reviews.withdraw(store, "anna") is not None  # the newest of all: that of `other`
    assert other.digest not in reviews.latest(store)
    assert reviews.withdraw(store, "anna") is not None
    assert now() == {"ben": reviews.SWAP}
    assert reviews.withdraw(store, "anna") is None
    assert len(read(store, "reviews")) == 7, "a row was removed"


def test_of_two_who_take_back_the_same_verdict_one_does(made: tuple[Store, list[PairName]]) -> None:
    """As where a button is pressed twice: what was said before it stays."""
    store, (pair, *_) = made
    first, second = Review(pair, "anna", reviews.ACCEPT), Review(pair, "anna", reviews.SWAP)
    reviews.add(store, [first, second])
    gone = Review(pair, "anna", reviews.WITHDRAWN, review_id="undo", withdraws=second.review_id)
    assert [reviews.add(store, [gone]) for _ in range(2)] == [1, 0]
    assert reviews.latest(store)[pair.digest]["anna"] == first


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": "yes"}, "'yes' is no verdict; there are accept, swap, reject"),
        ({"verdict": "withdrawn"}, "no verdict"),
        ({"reviewer": ""}, "can't be a reviewer's name"),
        ({"reviewer": "a\x1b[2J"}, "can't be a reviewer's name"),
        ({"note": "x" * 2001}, "at most 2000 characters"),
        ({"seconds": float("nan")}, "can't have taken"),
        ({"pair": PairName("0" * 64, "wild/train/00000000#0", 1, 2)}, "There is no pair wild/train/00000000#0 1>2"),
    ],
)
def test_what_is_no_review_is_refused_and_nothing_is_written(
    made: tuple[Store, list[PairName]], changes: dict[str, object], said: str
) -> None:
    store, pairs = made
    good = Review(pairs[0], "anna", reviews.ACCEPT)
    bad = Review(**{"pair": pairs[1], "reviewer": "anna", "verdict": reviews.ACCEPT, **changes})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=said):
        reviews.add(store, [good, bad])
    assert reviews.history(store) == []


def test_an_id_means_one_review(made: tuple[Store, list[PairName]]) -> None:
    store, pairs = made
    reviews.add(store, [Review(pairs[0], "anna", reviews.ACCEPT, review_id="x")])
    with pytest.raises(DataError, match="id of its own"):
        reviews.add(store, [Review(pairs[0], "anna", reviews.SWAP, review_id="x")])
