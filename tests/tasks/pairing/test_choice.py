"""Strategies and filters: promises that all keep, pairs by hand, and a reason for everybody who gives none."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from schemas.config.stages import PairConfig
from schemas.errors import ConfigError
from schemas.tables import LABEL_AS_SAMPLE
from tasks.pairing.choice import (
    CROWDED,
    MARGIN,
    NEAR,
    SCORES_EQUAL,
    ChosenPairs,
    choose_pairs,
    labels_that_win,
    shares_of_pictures,
    told,
)
from tasks.pairing.strategies import IDENTICAL, NO_LABEL, STRATEGIES, distance

OTHERS = get_args(PairConfig.model_fields["other_strategy"].annotation)


def names(count: int) -> list[str]:
    return [f"a/b/{row:03}#0" for row in range(count)]


def people(count: int, many: int, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Instances with scores, and poses of which the first 87 numbers are joints."""
    draw = np.random.default_rng(seed)
    return names(count), draw.random((count, many)), draw.standard_normal((count, many, 133)).astype(np.float32)


def pairs_of(chosen: ChosenPairs, row: int = 0) -> list[tuple[int, int]]:
    mine = chosen.row == row
    return list(zip(chosen.winner[mine].tolist(), chosen.loser[mine].tolist(), strict=True))


@st.composite
def alike(draw: st.DrawFn) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Few distinct scores and few distinct poses, so that ties and copies are common."""
    count, many = draw(st.integers(1, 4)), draw(st.integers(2, 7))
    scores = draw(arrays(np.float64, (count, many), elements=st.sampled_from([0.1, 0.2, 0.5, 0.9])))
    poses = draw(arrays(np.float32, (count, many, 1), elements=st.sampled_from([0.0, 1.0, 2.0])))
    return names(count), scores, np.tile(poses, 133)


@given(
    alike(),
    st.sampled_from(sorted(STRATEGIES)),
    st.sampled_from(OTHERS),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.05, 0.4]),
    st.sampled_from([0.0, 1.5, 2.0]),
)
def test_whatever_is_combined_keeps_its_promises(
    given_people: tuple[list[str], np.ndarray, np.ndarray],
    strategy: str,
    other: str,
    share: float,
    wanted: int,
    margin: float,
    least: float,
) -> None:
    ids, scores, poses = given_people
    margin = 0.0 if strategy == "random" else margin
    config = PairConfig.model_validate(
        {
            "strategy": strategy,
            "other_strategy": other,
            "other_share": share,
            "pairs_per_instance": wanted,
            "least_margin": margin,
            "least_distance": least,
        }
    )
    chosen = choose_pairs(ids, scores, poses, config, np.full(scores.shape, 0.1))
    assert set(chosen.row) | set(chosen.refused) == set(range(len(ids)))
    assert not set(chosen.row) & set(chosen.refused)
    assert (np.diff(chosen.row) >= 0).all()
    assert set(chosen.strategy) <= {strategy, other} - {"label_wins"}
    for row in range(len(ids)):
        mine = pairs_of(chosen, row)
        used = chosen.strategy[chosen.row == row]
        assert len(set(mine)) == len(mine) <= wanted
        assert len(set(used)) <= 1
        for winner, loser in mine:
            assert (poses[row, winner] != poses[row, loser]).any()
            assert distance(poses[row, winner], poses[row, loser]) >= least
            if STRATEGIES[used[0]].by_score:
                assert scores[row, winner] - scores[row, loser] >= max(margin, 1e-9)
        if len(used) and STRATEGIES[used[0]].disjoint:
            assert len({place for pair in mine for place in pair}) == 2 * len(mine)
        if row in chosen.refused:
            assert chosen.refused[row] in {IDENTICAL, MARGIN, SCORES_EQUAL, NEAR, NO_LABEL}


def test_crossed_pairs_set_each_of_the_best_against_each_of_the_worst() -> None:
    ids, scores, poses = people(5, 7)
    chosen = choose_pairs(ids, scores, poses, PairConfig(strategy="crossed", pairs_per_instance=4))
    order = np.argsort(-scores, axis=1)
    for row in range(5):
        first, second, *_, beforelast, last = order[row].tolist()
        assert pairs_of(chosen, row) == [(first, last), (first, beforelast), (second, last), (second, beforelast)]
    assert set(chosen.strategy) == {"crossed"}


@pytest.mark.parametrize(("wanted", "given_pairs"), [(1, 1), (3, 1), (8, 4), (9, 9), (100, 9)])
def test_crossed_pairs_are_a_square_that_fits(wanted: int, given_pairs: int) -> None:
    """Three are half of seven hypotheses."""
    chosen = choose_pairs(*people(3, 7), PairConfig(strategy="crossed", pairs_per_instance=wanted))
    assert np.bincount(chosen.row).tolist() == [given_pairs] * 3


def test_disagreement_is_of_scores_and_of_poses() -> None:
    scores = np.array([[0.9, 0.8, 0.5, 0.1]])
    poses = np.zeros((1, 4, 133), np.float32)
    poses[0, :, 0] = [0.0, 5.0, 0.1, 0.2]
    chosen = choose_pairs(["x"], scores, poses, PairConfig(strategy="disagreement", pairs_per_instance=2))
    # (0.8 - 0.1) * 4.8 of joint 0 before (0.8 - 0.5) * 4.9; of the two that are left the better wins
    assert pairs_of(chosen) == [(1, 3), (0, 2)]
    assert pairs_of(choose_pairs(["x"], scores, poses, PairConfig(pairs_per_instance=2))) == [(0, 3), (1, 2)]


def test_the_surest_pairs_are_those_whose_margin_is_most_times_what_heads_differ_by() -> None:
    scores = np.array([[0.9, 0.8, 0.5, 0.1]] * 2)
    poses = np.arange(4 * 133, dtype=np.float32).reshape(1, 4, 133).repeat(2, axis=0)
    # of the first person heads don't agree about best and worst; of the second they differ alike, so margins decide
    differ = np.array([[0.4, 0.03, 0.04, 0.4], [0.1, 0.1, 0.1, 0.1]])
    config = PairConfig(strategy="surest", pairs_per_instance=2)
    chosen = choose_pairs(names(2), scores, poses, config, differ)
    assert pairs_of(chosen) == [(1, 2), (0, 3)]  # .3 / .05, then what is left; best against worst is .8 / .57
    assert pairs_of(chosen, 1) == [(0, 3), (1, 2)]
    assert len(choose_pairs(names(2), scores, poses, config, differ * 0).row) == 4, "heads that say the same"
    mixed = PairConfig(other_strategy="surest", other_share=0.5, pairs_per_instance=1)
    everybody = [names(40), *(np.tile(part[:1], (40, *[1] * (part.ndim - 1))) for part in (scores, poses))]
    found = choose_pairs(*everybody, mixed, np.tile(differ[:1], (40, 1)))  # type: ignore[arg-type]
    for row, name in zip(found.row.tolist(), found.strategy.tolist(), strict=True):
        assert pairs_of(found, row) == [(1, 2) if name == "surest" else (0, 3)]
    assert set(found.strategy) == {"surest", "top_bottom"}


def test_of_a_scorer_with_one_head_nothing_is_surest() -> None:
    with pytest.raises(ConfigError, match=r"these scores are of one head: .* scorer\.score_heads above 1"):
        choose_pairs(*people(3, 4), PairConfig(strategy="surest"))


def test_near_duplicates_make_no_pair() -> None:
    scores = np.array([[0.9, 0.8, 0.2, 0.1]] * 2)
    poses = np.zeros((2, 4, 133), np.float32)
    poses[0, :, :3] = np.array([0.0, 1.0, 1.0, 29.0])[:, None] * [1, 0, 0]  # of 29 joints one moves
    poses[:, :, 90] = np.arange(4)  # twists, which tell them apart but don't count
    chosen = choose_pairs(names(2), scores, poses, PairConfig(pairs_per_instance=2, least_distance=0.5))
    assert pairs_of(chosen) == [(0, 3)]
    assert chosen.refused == {1: NEAR}
    assert choose_pairs(names(2), scores, poses, PairConfig(least_distance=1.01)).refused == {0: NEAR, 1: NEAR}
    tight = PairConfig(pairs_per_instance=2, least_distance=0.5, least_margin=0.85)
    assert choose_pairs(names(2), scores, poses, tight).refused == {0: MARGIN, 1: MARGIN}


def test_strategies_are_mixed_by_their_share() -> None:
    ids, scores, poses = people(400, 6)
    mixed = PairConfig(other_strategy="crossed", other_share=0.25, pairs_per_instance=4, seed=2)
    chosen = choose_pairs(ids, scores, poses, mixed)
    crossed = np.unique(chosen.row[chosen.strategy == "crossed"])
    assert 70 < len(crossed) < 130
    assert not set(crossed) & set(chosen.row[chosen.strategy == "top_bottom"])
    for name, rows in (("crossed", crossed), ("top_bottom", np.setdiff1d(np.arange(400), crossed))):
        alone = choose_pairs(ids, scores, poses, PairConfig(strategy=name, pairs_per_instance=4, seed=2))
        for row in rows[:20].tolist():
            assert pairs_of(chosen, row) == pairs_of(alone, row)
    some = choose_pairs(ids[100:150], scores[100:150], poses[100:150], mixed)
    assert pairs_of(some, 7) == pairs_of(chosen, 107)  # whoever else there is
    everybody = choose_pairs(ids, scores, poses, mixed.model_copy(update={"other_share": 1.0}))
    assert set(everybody.strategy) == {"crossed"}


def test_labels_alone_leave_others_without_a_pair() -> None:
    ids, scores, poses = people(4, 5)
    config = PairConfig(strategy="label_wins", pairs_per_instance=2)
    labelled = np.array([True, False, True, True])
    won = labels_that_win(ids, labelled, scores, config)
    assert won.row.tolist() == [0, 0, 2, 2, 3, 3]
    assert set(won.winner.tolist()) == {LABEL_AS_SAMPLE}
    assert won.loser.reshape(-1, 2).tolist() == np.argsort(scores, axis=1)[labelled, :2].tolist()
    assert choose_pairs(ids, scores, poses, config).without(set(won.row.tolist())).refused == {1: NO_LABEL}
    assert len(labels_that_win(ids, labelled, scores, PairConfig()).row) == 0


def test_a_picture_gives_no_more_pairs_than_it_may_and_its_people_share_them() -> None:
    crowd = [f"a/b/crowd#{number}" for number in range(3)]
    everybody = ["a/b/alone#0", *crowd]
    assert list(shares_of_pictures(everybody, 5).values()) == [5, 2, 2, 1]
    assert list(shares_of_pictures(everybody, 2).values()) == [2, 1, 1, 0]
    _, scores, poses = people(4, 8)
    chosen = choose_pairs(everybody, scores, poses, PairConfig(pairs_per_instance=4))
    kept = chosen.at_most(np.array(list(shares_of_pictures(everybody, 2).values())))
    assert np.bincount(kept.row, minlength=4).tolist() == [2, 1, 1, 0]
    assert kept.refused == {3: CROWDED}
    assert pairs_of(kept, 0) == pairs_of(chosen, 0)[:2]
    # one without any pair keeps its own reason
    refused = choose_pairs(everybody, scores * 0, poses, PairConfig()).at_most(np.zeros(4, int)).refused
    assert set(refused.values()) == {SCORES_EQUAL}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "best against worst hypothesis of each person, by score"),
        ({"least_margin": 0.1, "least_distance": 0.05}, "; margins of 0.1 at least; poses 0.05 apart at least"),
        ({"other_share": 0.2}, "; of 20% of the people two hypotheses of each person at random, whatever their scores"),
        ({"most_per_picture": 8}, "; 8 of a picture at most"),
    ],
)
def test_the_report_says_how_pairs_were_chosen(changes: dict[str, Any], said: str) -> None:
    assert told(PairConfig.model_validate(changes)).endswith(said)


def test_random_pairs_know_no_margin_but_a_share_of_them_may_stand_beside_those_that_do() -> None:
    with pytest.raises(ValidationError, match="least_margin=0"):
        PairConfig(strategy="random", least_margin=0.1)
    ids, scores, poses = people(200, 6)
    config = PairConfig(least_margin=0.5, other_share=0.5, pairs_per_instance=1)
    chosen = choose_pairs(ids, scores, poses, config)
    row = np.arange(len(chosen.row))
    margin = scores[chosen.row, chosen.winner] - scores[chosen.row, chosen.loser]
    assert (margin[chosen.strategy == "top_bottom"] >= 0.5).all()
    assert (margin[chosen.strategy == "random"] < 0).any()
    assert len(row) > 150
