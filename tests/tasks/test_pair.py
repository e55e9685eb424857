"""Pairs: winner above loser, never against itself, and a reason for every instance that gives none."""

from typing import cast, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infra.tables import read
from schemas.config.stages import PairConfig
from schemas.errors import ConfigError
from schemas.splits import SOURCE_TRAIN, WILD_TRAIN
from schemas.tables import LABEL_AS_SAMPLE, matrix
from tasks.pairing.choice import MARGIN, NEAR, SCORES_EQUAL, choose_pairs, ranks
from tasks.pairing.strategies import IDENTICAL, STRATEGIES, Strategy
from tasks.rows.hypotheses import generated_ids, read_hypotheses
from tasks.rows.instances import instance_ids, load_instances
from tasks.rows.scores import read_scores
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tests.tasks import micro
from tests.tasks.conftest import MicroStore


@st.composite
def scored(draw: st.DrawFn) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Few distinct scores and few distinct poses, so that ties and copies are common."""
    count, many = draw(st.integers(1, 4)), draw(st.integers(2, 7))
    scores = draw(arrays(np.float64, (count, many), elements=st.sampled_from([0.1, 0.2, 0.5, 0.9])))
    poses = draw(arrays(np.float32, (count, many, 1), elements=st.sampled_from([0.0, 1.0, 2.0])))
    return [f"a/b/{row}#0" for row in range(count)], scores, poses


@given(scored(), st.sampled_from(["top_bottom", "random"]), st.integers(1, 4), st.sampled_from([0.0, 0.05, 0.4]))
def test_pairs_keep_their_promises(
    given_scores: tuple[list[str], np.ndarray, np.ndarray], strategy: str, wanted: int, margin: float
) -> None:
    ids, scores, poses = given_scores
    least = margin if strategy == "top_bottom" else 0.0
    config = PairConfig(strategy=strategy, pairs_per_instance=wanted, least_margin=least)
    chosen = choose_pairs(ids, scores, poses, config)
    assert set(chosen.row) | set(chosen.refused) == set(range(len(ids)))
    assert not set(chosen.row) & set(chosen.refused)
    used: set[tuple[int, int]] = set()
    places = ranks(scores)
    for row, winner, loser in zip(chosen.row, chosen.winner, chosen.loser, strict=True):
        assert winner != loser
        assert (poses[row, winner] != poses[row, loser]).any()
        assert not {(row, winner), (row, loser)} & used
        used |= {(row, winner), (row, loser)}
        for place, rank in ((winner, places[row, winner]), (loser, places[row, loser])):
            better = (scores[row] > scores[row, place]).sum()
            assert better <= rank <= better + (scores[row] == scores[row, place]).sum() - 1
        if strategy == "top_bottom":
            assert scores[row, winner] - scores[row, loser] >= max(least, 1e-9)
    for row, reason in chosen.refused.items():
        if strategy == "top_bottom" and len(set(scores[row])) == 1:
            assert reason == SCORES_EQUAL
        elif len(set(poses[row, :, 0])) == 1:
            assert reason == IDENTICAL
        else:
            assert reason in ({IDENTICAL, MARGIN} if strategy == "top_bottom" else {IDENTICAL})
    if strategy == "top_bottom" and wanted == 1:
        for row, winner, loser in zip(chosen.row, chosen.winner, chosen.loser, strict=True):
            assert (scores[row, winner], scores[row, loser]) == (scores[row].max(), scores[row].min())


def test_reasons() -> None:
    poses = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    spread = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    assert choose_pairs(["x"], np.full((1, 6), 0.5), poses, PairConfig()).refused == {0: SCORES_EQUAL}
    assert choose_pairs(["x"], spread, poses * 0, PairConfig()).refused == {0: IDENTICAL}
    assert choose_pairs(["x"], spread, poses, PairConfig(least_margin=0.6)).refused == {0: MARGIN}
    chosen = choose_pairs(["x"], spread, poses, PairConfig(pairs_per_instance=9, least_margin=0.3))
    assert list(zip(chosen.winner, chosen.loser, strict=True)) == [(5, 0), (4, 1)]
    assert ranks(spread).tolist() == [[5, 4, 3, 2, 1, 0]]
    assert ranks(np.array([[0.5, 0.7, 0.5, 0.7]])).tolist() == [[2, 0, 3, 1]]


def test_random_pairs_do_not_look_at_scores() -> None:
    ids = [f"a/b/{row}#0" for row in range(200)]
    scores = np.random.default_rng(0).random((200, 8))
    poses = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None], (200, 8, 1))
    config = PairConfig(strategy="random", pairs_per_instance=1, seed=3)
    one, other = (choose_pairs(ids, values, poses, config) for values in (scores, -scores))
    assert (one.winner == other.winner).all()
    assert (one.loser == other.loser).all()
    better = scores[one.row, one.winner] > scores[one.row, one.loser]
    assert 0.35 < better.mean() < 0.65
    reseeded = choose_pairs(ids, scores, poses, config.model_copy(update={"seed": 4}))
    assert (one.winner != reseeded.winner).any()
    some = choose_pairs(ids[50:60], scores[50:60], poses[50:60], config)
    assert (some.winner == one.winner[50:60]).all()


def test_an_unknown_strategy_is_an_error_that_lists_those_there_are() -> None:
    config = PairConfig().model_copy(update={"strategy": "middle"})  # which no check of the configuration sees
    for unheard in (
        lambda: choose_pairs(["x"], np.array([[0.1, 0.2]]), np.zeros((1, 2, 1)), config),
        lambda: Pair("generation", "scores", config),  # before the stage is planned or run
    ):
        with pytest.raises(ConfigError, match="There is no pair strategy 'middle'; there are top_bottom, random"):
            unheard()
    assert get_args(PairConfig.model_fields["strategy"].annotation) == tuple(STRATEGIES)


def test_a_row_of_the_table_is_a_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbours = Strategy(lambda given, pairs, seed: (given.order[:, :1], given.order[:, 1:2]), "best two by score")
    monkeypatch.setitem(cast(dict[str, Strategy], STRATEGIES), "neighbours", neighbours)
    config = PairConfig(least_margin=0.05).model_copy(update={"strategy": "neighbours"})
    scores, poses = np.array([[0.1, 0.9, 0.8], [0.5, 0.5, 0.1]]), np.arange(6.0).reshape(2, 3, 1)
    chosen = choose_pairs(["x", "y"], scores, poses, config)
    assert (list(chosen.winner), list(chosen.loser)) == ([1], [2])
    assert chosen.refused == {1: MARGIN}


@pytest.fixture
def keys(micro_store: MicroStore) -> tuple[str, str]:
    context, ingests = micro_store.context, [micro_store.ingest_key]
    made = Generate(ingests, (WILD_TRAIN,), micro_store.policy, micro.CONFIG.generate).run(context).key
    return made, Score(made, ingests, micro_store.scorer).run(context).key


def test_rows_hold_what_training_needs(micro_store: MicroStore, keys: tuple[str, str]) -> None:
    result = Pair(*keys, PairConfig(pairs_per_instance=2)).run(micro_store.context)
    assert result.key == Pair(*keys, PairConfig(pairs_per_instance=2)).spec(micro_store.context).key
    rows = read(micro_store.store, "pairs", stage_keys=[result.key])
    ids = generated_ids(micro_store.store, keys[0])
    made = read_hypotheses(micro_store.store, keys[0], ids).hypotheses
    scores = read_scores(micro_store.store, keys[1], ids, np.arange(5))
    place = np.array([ids.index(name) for name in rows.column("instance_id").to_pylist()])
    assert len(rows) == 48
    for side, best in (("winner", scores.max(axis=1)), ("loser", scores.min(axis=1))):
        sample = rows.column(side).to_numpy()
        assert (rows.column(f"{side}_score").to_numpy() == scores[place, sample]).all()
        assert (matrix(rows, f"{side}_uvd") == made.uvd[place, sample].reshape(-1, 87)).all()
        assert (matrix(rows, f"{side}_twist") == made.twists[place, sample].reshape(-1, 46)).all()
        assert (matrix(rows, f"{side}_betas") == made.betas[place, sample]).all()
        assert (rows.column(f"{side}_score").to_numpy()[::2] == best).all()
    margin = rows.column("winner_score").to_numpy() - rows.column("loser_score").to_numpy()
    assert (rows.column("margin").to_numpy() == margin).all()
    assert Pair(*keys, PairConfig(pairs_per_instance=2)).run(micro_store.context).reused


def test_instances_without_a_pair_are_filtered_with_a_reason(micro_store: MicroStore, keys: tuple[str, str]) -> None:
    result = Pair(*keys, PairConfig(least_margin=0.99)).run(micro_store.context)
    assert (result.record.tally.ok, result.record.tally.filtered) == (0, 24)
    rows = read(micro_store.store, "failures", stage_keys=[result.key]).to_pylist()
    assert {(row["outcome"], row["reason"]) for row in rows} == {("filtered", MARGIN)}
    assert "least margin 0.99" in rows[0]["detail"]
    assert len(read(micro_store.store, "pairs", stage_keys=[result.key])) == 0


def test_filters_are_the_stages_too_and_say_what_they_left_out(micro_store: MicroStore, keys: tuple[str, str]) -> None:
    """In each picture is one person here."""
    plain, few, near = (
        Pair(*keys, PairConfig.model_validate({"pairs_per_instance": 2, **changes})).run(micro_store.context)
        for changes in ({}, {"most_per_picture": 1}, {"least_distance": 1e3})
    )
    assert len({result.key for result in (plain, few, near)}) == 3
    every, first = (read(micro_store.store, "pairs", stage_keys=[result.key]).to_pylist() for result in (plain, few))
    best = {row["instance_id"]: row["margin"] for row in every if row["winner_rank"] == 0}
    assert {row["instance_id"]: row["margin"] for row in first} == best
    assert len(every) == 2 * len(first)
    rows = read(micro_store.store, "failures", stage_keys=[near.key]).to_pylist()
    assert {(row["outcome"], row["reason"]) for row in rows} == {("filtered", NEAR)}
    assert len(rows) == 24
    assert rows[0]["detail"].endswith("least margin 0, least distance 1000")


@pytest.mark.slow
def test_labels_win_in_their_share_of_the_instances(micro_store: MicroStore) -> None:
    context, ingests, target = micro_store.context, [micro_store.ingest_key], SOURCE_TRAIN
    made = Generate(ingests, (target,), micro_store.policy, micro.CONFIG.generate).run(context).key
    scores = Score(made, ingests, micro_store.scorer).run(context).key
    config = PairConfig(pairs_per_instance=2, label_wins_share=0.5)
    with pytest.raises(ConfigError, match="no ingest to take labels from"):
        Pair(made, scores, config).run(context)
    result = Pair(made, scores, config, ingests).run(context)
    rows = read(micro_store.store, "pairs", stage_keys=[result.key]).to_pylist()
    won = {row["instance_id"] for row in rows if row["winner"] == LABEL_AS_SAMPLE}
    ids = instance_ids(micro_store.store, ingests, [target])
    assert 0.25 < len(won) / len(ids) < 0.75
    people = load_instances(micro_store.store, ingests, ids)
    given = read_scores(micro_store.store, scores, ids, np.arange(5))
    for row in rows:
        place = ids.index(row["instance_id"])
        if row["instance_id"] not in won:
            assert row["strategy"] == "top_bottom"
            continue
        assert (row["strategy"], row["margin"], row["winner_score"]) == ("label_wins", None, None)
        np.testing.assert_array_equal(row["winner_uvd"], people.uvd[place].reshape(-1))
        assert row["loser"] in np.argsort(given[place])[:2]
    assert len(rows) == 2 * len(ids)
    # not where nobody knows the body
    wild = Generate(ingests, (WILD_TRAIN,), micro_store.policy, micro.CONFIG.generate).run(context).key
    wild_scores = Score(wild, ingests, micro_store.scorer).run(context).key
    unlabelled = Pair(wild, wild_scores, config, ingests).run(context)
    assert set(read(micro_store.store, "pairs", stage_keys=[unlabelled.key]).column("strategy").to_pylist()) == {
        "top_bottom"
    }
