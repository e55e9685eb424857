"""The constant offset: the mean of winner less loser, by which all hypotheses are moved, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import read
from schemas.errors import DataError
from schemas.ids import StageKey
from schemas.splits import WILD_VALIDATION
from schemas.tables import build
from tasks.diagnostics.offset import EvaluateOffset, mean_offset
from tasks.rows.instances import instance_ids, load_instances
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

BY = np.linspace(-0.3, 0.4, 87).reshape(29, 3).astype(np.float32)
"""What winners have over losers here, on an average."""
ALPHA = 2.0


def pairs_of(store: Store) -> StageKey:
    """Two pairs: of one the winner is moved by half of BY, of the other by one and a half."""
    spec = StageSpec("pair", 1, {"of": "offset"})
    loser = np.random.default_rng(0).normal(size=(2, 29, 3)).astype(np.float32)
    winner = loser + np.array([0.5, 1.5], np.float32)[:, None, None] * BY
    rest = {
        f"{side}_{name}": np.zeros((2, length), np.float32)
        for side in ("winner", "loser")
        for name, length in (("twist", 46), ("betas", 10))
    }
    columns = {
        "pair_set": spec.key,
        "instance_id": ["wild/train/0#0", "wild/train/1#0"],
        "generation_id": "g",
        "winner": 1,
        "loser": 2,
        "winner_uvd": winner.reshape(2, -1),
        "loser_uvd": loser.reshape(2, -1),
        **rest,
        "strategy": "top_bottom",
        "dataset": "wild",
        "round": 1,
        "stage_key": spec.key,
    }
    commit_rows(store, spec, {"pairs": build("pairs", columns)})
    return spec.key


def test_it_is_the_mean_of_winner_less_loser(micro_store: MicroStore) -> None:
    np.testing.assert_allclose(mean_offset(micro_store.store, pairs_of(micro_store.store)), BY, atol=1e-6)
    with pytest.raises(DataError, match="left no pairs"):
        mean_offset(micro_store.store, micro_store.ingest_key)


@pytest.mark.slow
def test_every_hypothesis_is_moved_by_it_and_nothing_else_is(micro_store: MicroStore) -> None:
    """Sample 0 and the others alike; twists, betas and depth stay, and errors are those of the moved bodies."""
    settings = micro.CONFIG.evaluate
    plain = EvaluateOffset(
        (micro_store.ingest_key,),
        (WILD_VALIDATION,),
        micro_store.policy,
        None,
        settings,
        pairs=pairs_of(micro_store.store),
        alpha=0.0,
    )
    moved = replace(plain, alpha=ALPHA)
    worker = plain.worker(micro_store.context), moved.worker(micro_store.context)
    ids = instance_ids(micro_store.store, plain.ingests, [WILD_VALIDATION])
    people = load_instances(micro_store.store, plain.ingests, ids)
    was, now = (
        one.draw(people.ids, people.crops, people.crop_intrinsics, people.root_depth)  # type: ignore[attr-defined]
        for one in worker
    )
    assert was.uvd.shape[1] == settings.generate.hypotheses > 1
    np.testing.assert_allclose(now.uvd - was.uvd, np.broadcast_to(ALPHA * BY, was.uvd.shape), atol=1e-5)
    for name in ("twists", "betas"):
        np.testing.assert_array_equal(getattr(now, name), getattr(was, name))
    keys = [stage.run(micro_store.context).key for stage in (plain, moved)]
    errors = [errors_of(micro_store.store, key) for key in keys]
    assert not np.allclose(*errors)


def errors_of(store: Store, key: StageKey) -> np.ndarray:
    rows = read(store, "errors", stage_keys=[key]).sort_by(
        [("instance_id", "ascending"), ("sample_index", "ascending")]
    )
    return rows.column("mpvpe_mm").to_numpy()
