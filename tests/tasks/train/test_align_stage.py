"""align: pairs out of the table, in a fixed order and with their crops, and a policy that has moved."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import read
from schemas.config.stages import PairConfig
from schemas.errors import ConfigError, DataError
from schemas.splits import WILD_TRAIN
from schemas.tables import build
from tasks.rows.instances import instance_ids, load_instances
from tasks.rows.mix import Mix
from tasks.rows.models import load_policy, model_of
from tasks.rows.streams import Space
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.stages.training import Align
from tasks.train.pairs import load_pairs
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow
SPACE = Space.of(micro.CONFIG.ray)


def commit_pairs(store: Store, ingest_key: str, count: int = 2) -> str:
    """A pairing stage with `count` invented pairs for each instance of wild/train, in no order to speak of."""
    spec = StageSpec("invented_pairs", 1, {"count": count})
    ids = [name for name in instance_ids(store, [ingest_key], [WILD_TRAIN]) for _ in range(count)]
    draw = np.random.default_rng(0)
    shuffled = [ids[row] for row in draw.permutation(len(ids))]
    payload = {
        f"{side}_{what}": draw.uniform(-0.5, 0.5, (len(ids), size)).astype(np.float32)
        for side in ("winner", "loser")
        for what, size in (("uvd", 87), ("twist", 46), ("betas", 10))
    }
    columns = {
        "pair_set": spec.key,
        "instance_id": shuffled,
        "generation_id": "g",
        "winner": list(range(len(ids))),
        "loser": [99] * len(ids),
        "strategy": "invented",
        "dataset": "wild",
        "round": [1] * len(ids),
        "stage_key": spec.key,
    }
    commit_rows(store, spec, {"pairs": build("pairs", {**columns, **payload})})
    return spec.key


def test_pairs_come_sorted_with_their_crops(micro_store: MicroStore) -> None:
    store, key = micro_store.store, micro_store.ingest_key
    pairs = load_pairs(store, commit_pairs(store, key), micro.of(key, WILD_TRAIN), SPACE)
    rows = sorted(read(store, "pairs").to_pylist(), key=lambda row: (row["instance_id"], row["winner"]))
    assert len(pairs) == len(rows) == 48
    assert len(pairs.crops) == 24
    for place in (0, 17, 47):
        row = rows[place]
        expected = load_instances(store, [key], [row["instance_id"]]).crops[0]
        np.testing.assert_array_equal(pairs.crops[pairs.crop_row[place]], expected)
        np.testing.assert_array_equal(pairs.winner[place], np.float32(row["winner_uvd"] + row["winner_twist"]))
        np.testing.assert_array_equal(pairs.loser[place], np.float32(row["loser_uvd"] + row["loser_twist"]))
    assert pairs.samples is not None
    assert pairs.samples.tolist() == [[row["winner"], row["loser"]] for row in rows]
    assert pairs.known_scores().tolist() == [[1.0, 0.0]] * 48  # as no scorer was asked
    with pytest.raises(DataError, match="left no pair to train on"):
        load_pairs(store, "0" * 64, micro.of(key, WILD_TRAIN), SPACE)


@pytest.mark.parametrize("strategy", ["top_bottom", "random"])
def test_scores_come_with_pairs_that_were_chosen_by_them(micro_store: MicroStore, strategy: str) -> None:
    """At random nobody is better: groups of such pairs must not be ranked by scores again."""
    context, ingests = micro_store.context, [micro_store.ingest_key]
    made = Generate(ingests, (WILD_TRAIN,), micro_store.policy, micro.CONFIG.generate).run(context).key
    scored = Score(made, ingests, micro_store.scorer).run(context).key
    key = Pair(made, scored, PairConfig(strategy=strategy, pairs_per_instance=2)).run(context).key
    pairs = load_pairs(micro_store.store, key, micro.of(micro_store.ingest_key, WILD_TRAIN), SPACE)
    rows = sorted(
        read(micro_store.store, "pairs", stage_keys=[key]).to_pylist(),
        key=lambda row: (row["instance_id"], row["winner"], row["loser"]),
    )
    expected = [[row["winner_score"], row["loser_score"]] for row in rows]
    by_score = strategy == "top_bottom"
    np.testing.assert_allclose(pairs.known_scores(), expected if by_score else [[1.0, 0.0]] * len(rows), rtol=1e-6)


def test_the_policy_is_moved_and_says_from_where(micro_store: MicroStore) -> None:
    store, key, here = micro_store.store, micro_store.ingest_key, micro_store.context
    pair_key, reference = commit_pairs(store, key), micro.untrained(store, "policy", seed=2)
    done = Align(micro.of(key), pair_key, micro_store.policy, reference).run(here)
    digest = model_of(store, done.key)
    assert digest not in (micro_store.policy, reference)
    row = next(row for row in read(store, "models").to_pylist() if row["digest"] == digest)
    assert row["parents"] == [micro_store.policy, reference]
    series = set(read(store, "curves", stage_keys=[done.key]).column("series").to_pylist())
    assert {"winner", "loser", "winner_change", "loser_change", "replay"} <= series
    before, after = (load_policy(store, name).state_dict() for name in (micro_store.policy, digest))
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"condition", "hyponet"}
    assert Align(micro.of(key), pair_key, micro_store.policy, reference).run(here).reused


def test_nobody_is_replayed_only_where_that_is_said(micro_store: MicroStore) -> None:
    store, key, here = micro_store.store, micro_store.ingest_key, micro_store.context
    alone = Align(
        Mix((), ()), commit_pairs(store, key), micro_store.policy, micro_store.policy, micro.of(key, WILD_TRAIN)
    )
    with pytest.raises(ConfigError, match=r"say which \(--replay\), or set align.replay=0"):
        alone.run(here)
    align = here.config.align.model_copy(update={"replay": 0.0})
    done = alone.run(replace(here, config=here.config.model_copy(update={"align": align})))
    series = set(read(store, "curves", stage_keys=[done.key]).column("series").to_pylist())
    assert "replay" not in series
    assert "winner_change" in series


def test_what_decides_the_key(shared_micro_store: MicroStore) -> None:
    here, key = shared_micro_store.context, shared_micro_store.ingest_key
    keys = [
        Align(micro.of(key), "p", "a", "b").spec(here).key,
        Align(micro.of(key), "p", "b", "a").spec(here).key,
        Align(micro.of(key), "q", "a", "b").spec(here).key,
        Align(micro.of(key), "p", "a", "b", people=micro.of("d", WILD_TRAIN)).spec(here).key,
    ]
    assert len(set(keys)) == 4
    assert Align(micro.of(key), "p", "a", "b", people=micro.of(key, WILD_TRAIN)).spec(here).key == keys[0]
