"""The stage review: what people rejected is left out, what they swapped is swapped, and every pair is accounted for."""

from pathlib import Path

import numpy as np
import pytest

from infra.reviews import PairName
from infra.store import Store
from infra.tables import live_files, read
from schemas.ids import StageKey, Target
from schemas.profiles import micro
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.review.verdicts import DIVIDED, NOT_HERE, NOT_JUDGED, REJECTED, Unjudged
from tasks.review.work import swap
from tasks.stages.review import ApplyReviews
from tests.infra.reviewing import PEOPLE, store_with_pairs

Made = tuple[Context, list[PairName]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    store, pairs = store_with_pairs(tmp_path / "store")
    return Context(store, micro(), round=1, in_process=True), pairs


def said(pairs: list[PairName]) -> dict[str, dict[str, str]]:
    words = [{"anna": "accept"}, {"anna": "swap"}, {"anna": "reject"}, {"anna": "swap", "ben": "accept"}]
    return {pair.unit: word for pair, word in zip(pairs, words, strict=False)}


@pytest.mark.parametrize("unjudged", ["keep", "leave_out"])
def test_every_pair_is_kept_swapped_or_left_out_with_its_reason(made: Made, unjudged: Unjudged) -> None:
    context, pairs = made
    before = live_files(context.store, "pairs")
    key = StageKey(pairs[0].stage_key)
    done = ApplyReviews(key, said(pairs), unjudged).run(context).record
    kept = PEOPLE - 1 if unjudged == "keep" else 2
    assert (done.units_in, done.tally.ok, done.tally.filtered, done.tally.failed) == (PEOPLE, kept, PEOPLE - kept, 0)
    rows = read(context.store, "pairs", stage_keys=[done.stage_key]).to_pylist()
    by_person = {row["instance_id"]: row for row in rows}
    first, second, third, fourth = (pair.instance_id for pair in pairs[:4])
    assert (by_person[first]["winner"], by_person[first]["loser"]) == (1, 2)
    assert (by_person[second]["winner"], by_person[second]["loser"]) == (2, 1)
    assert by_person[second]["margin"] == pytest.approx(-0.1)
    assert third not in by_person
    assert (fourth in by_person) == (unjudged == "keep")
    left = {row["id"]: row for row in read(context.store, "failures", stage_keys=[done.stage_key]).to_pylist()}
    assert left[pairs[2].unit]["reason"] == REJECTED
    assert "anna: reject" in left[pairs[2].unit]["detail"]
    if unjudged == "leave_out":
        assert left[pairs[3].unit]["reason"] == DIVIDED
        assert left[pairs[4].unit]["reason"] == NOT_JUDGED
    assert live_files(context.store, "pairs", stage_keys=[key]) == before, "pairs were changed"


def test_a_swap_changes_sides_and_nothing_else_and_twice_is_none(made: Made) -> None:
    context, _ = made
    rows = read(context.store, "pairs")
    turned = swap(rows)
    for rest in ("", "_score", "_rank", "_uvd", "_twist", "_betas"):
        assert turned.column(f"winner{rest}").equals(rows.column(f"loser{rest}"))
    np.testing.assert_array_equal(matrix(turned, "loser_uvd"), matrix(rows, "winner_uvd"))
    for name in ("instance_id", "generation_id", "strategy", "pair_set", "dataset"):
        assert turned.column(name).equals(rows.column(name))
    assert swap(turned).equals(rows)


def test_the_reviews_decide_the_key(made: Made) -> None:
    context, pairs = made
    key = StageKey(pairs[0].stage_key)
    other = said(pairs) | {pairs[5].unit: {"anna": "reject"}}
    keys = {ApplyReviews(key, words, "keep").key(context) for words in (said(pairs), other, {})}
    assert len(keys) == 3


def test_of_earlier_rounds_only_judged_pairs_of_people_who_are_here_are_taken(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa

    import tasks.review.work
    from tasks.rows.mix import Mix

    context, pairs = made
    here = pa.array([pair.instance_id for pair in pairs[1:]])
    monkeypatch.setattr(tasks.review.work, "sorted_ids", lambda *_: here)
    mix = Mix((StageKey("0" * 64),), (Target("wild", "train"),))
    done = ApplyReviews(StageKey(pairs[0].stage_key), said(pairs), "leave_out", mix).run(context).record
    assert (done.units_in, done.tally.ok) == (4, 1)
    reasons = read(context.store, "failures", stage_keys=[done.stage_key]).column("reason").to_pylist()
    assert sorted(reasons) == sorted([DIVIDED, NOT_HERE, REJECTED])


def test_a_store_without_reviews_reads_none(tmp_path: Path) -> None:
    assert len(read(Store.open(tmp_path / "store"), "reviews")) == 0
