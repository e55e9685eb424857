"""Groups: a crop's hypotheses once each, best first, with the scores of its pairs; drawn whole or in part."""

import numpy as np
import pytest

from tasks.train.groups import Groups
from tasks.train.pairs import PreferencePairs
from tests.tasks.train.alignment import CROPS, PAIRS, poses, random_pairs

NAN = float("nan")


def pairs(rows: list[tuple[int, int, int, float, float]]) -> PreferencePairs:
    """(crop, winner, loser, their scores) -> pairs."""
    crop, *_ = zip(*rows, strict=True)
    draw = np.random.default_rng(0)
    samples = np.array([row[1:3] for row in rows], np.int32)
    scores = np.array([row[3:] for row in rows], np.float32)
    winner, loser = (poses(draw, len(rows)) for _ in range(2))
    return PreferencePairs(np.zeros((9, 1, 1, 3), np.uint8), np.array(crop), winner, loser, None, None, samples, scores)


def listed(groups: Groups, given: PreferencePairs, place: int) -> list[tuple[int, float]]:
    """Samples and scores of a crop's group."""
    assert given.samples is not None
    mine = slice(groups.first[place], groups.first[place] + groups.count[place])
    found = given.samples[groups.row[mine], groups.side[mine]]
    return [(int(sample), round(float(score), 6)) for sample, score in zip(found, groups.score[mine], strict=True)]


def test_a_hypothesis_in_several_pairs_counts_once() -> None:
    given = pairs([(4, 7, 2, 0.9, 0.1), (1, 3, 5, 0.6, 0.2), (4, 7, 3, 0.9, 0.2), (4, 6, 2, 0.8, 0.1)])
    groups = Groups.of(given)
    assert groups.count.tolist() == [2, 4]
    assert listed(groups, given, 0) == [(3, 0.6), (5, 0.2)]
    assert listed(groups, given, 1) == [(7, 0.9), (6, 0.8), (3, 0.2), (2, 0.1)]


def test_a_label_is_the_best_and_equal_scores_go_by_their_sample() -> None:
    given = pairs([(0, -1, 9, NAN, 3.0), (0, 8, 9, 7.0, 3.0), (0, 4, 9, 7.0, 3.0), (2, -1, 1, NAN, 0.4)])
    groups = Groups.of(given)
    assert listed(groups, given, 0) == [(-1, 7.0), (4, 7.0), (8, 7.0), (9, 3.0)]
    assert listed(groups, given, 1) == [(-1, 1.0), (1, 0.4)]


def test_without_scores_a_hypothesis_is_worth_the_pairs_that_it_won() -> None:
    given = pairs([(0, 1, 2, NAN, NAN), (0, 2, 3, NAN, NAN), (0, 1, 3, NAN, NAN)])
    assert listed(Groups.of(given), given, 0) == [(1, 1.0), (2, 0.5), (3, 0.0)]


def test_where_scores_contradict_a_pair_somebody_else_decided_it() -> None:
    """As people do who swap a pair: the winner is the better one in groups as well."""
    given = pairs([(0, 1, 2, 0.3, 0.8), (0, 1, 3, 0.3, 0.1)])
    np.testing.assert_allclose(given.known_scores(), [[1.0, 0.0], [0.3, 0.1]])
    assert listed(Groups.of(given), given, 0) == [(1, 0.65), (3, 0.1), (2, 0.0)]


def test_without_names_every_side_is_one_of_its_own() -> None:
    groups = Groups.of(random_pairs())
    assert groups.count.tolist() == [2 * PAIRS // CROPS] * CROPS
    assert groups.score.reshape(CROPS, -1).tolist() == [[1.0, 1.0, 0.0, 0.0]] * CROPS
    assert sorted(zip(groups.row.tolist(), groups.side.tolist(), strict=True)) == [
        (row, side) for row in range(PAIRS) for side in range(2)
    ]


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_as_many_are_drawn_as_there_are_best_first_and_each_alike(size: int) -> None:
    given = pairs([(4, 7, 2, 0.9, 0.1), (1, 3, 5, 0.6, 0.2), (4, 7, 3, 0.9, 0.2), (4, 6, 2, 0.8, 0.1)])
    groups, draw = Groups.of(given), np.random.default_rng(0)
    seen = np.zeros(4, int)
    for _ in range(200):
        drawn = groups.draw(np.array([1, 0, 1]), size, draw)
        assert drawn.row.shape == (3, size)
        assert drawn.present.sum(1).tolist() == [min(size, 4), 2, min(size, 4)]
        assert (drawn.present[:, :-1] >= drawn.present[:, 1:]).all()
        for row, side, score, present in zip(*drawn, strict=True):
            assert given.samples is not None
            chosen = given.samples[row, side][present]
            assert len(set(chosen.tolist())) == len(chosen)
            assert (np.diff(score[present]) <= 0).all()
        seen += np.isin(np.array([7, 6, 3, 2]), given.samples[drawn.row[0], drawn.side[0]])
    assert (seen > 0.8 * 200 * min(size, 4) / 4).all()
