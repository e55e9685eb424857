"""Drawing and scoring by compiled networks: what plain ones give but for last bits, and the same in every call."""

import shutil

import numpy as np
import pytest

from models.bodies import load_body
from schemas.config.stages import GenerateConfig, ScoreConfig
from schemas.digests import canonical_json
from schemas.ids import ModelDigest, StageKey
from tasks.generate import HypothesisSampler
from tasks.rows.hypotheses import Hypotheses
from tasks.rows.instances import load_instances
from tasks.rows.models import load_policy, load_scorer
from tasks.score import HypothesisScorer
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

PLAIN = micro.CONFIG.generate


@pytest.mark.parametrize("config", [GenerateConfig(), ScoreConfig()])
def test_it_is_part_of_a_key_where_it_is_chosen(config: GenerateConfig | ScoreConfig) -> None:
    assert "compile" not in canonical_json(config)
    assert '"compile":true' in canonical_json(config.model_copy(update={"compile": True})).replace(" ", "")


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
def test_compiled_networks_draw_and_score_the_same(micro_store: MicroStore) -> None:
    people = load_instances(
        micro_store.store, [StageKey(micro_store.ingest_key)], [f"wild/train/{n:08d}#0" for n in range(6)]
    )

    def drawn(config: GenerateConfig) -> Hypotheses:
        draw = HypothesisSampler(
            load_policy(micro_store.store, ModelDigest(micro_store.policy)), config, load_body("tiny")
        )
        once, again = (draw(people.ids, people.crops, people.crop_intrinsics, people.root_depth) for _ in range(2))
        assert (once.uvd == again.uvd).all()
        assert (once.twists == again.twists).all()
        return once

    plain, other = drawn(PLAIN), drawn(PLAIN.model_copy(update={"compile": True}))
    assert (plain.uvd != other.uvd).any(), "it was not compiled"
    # a crop is two metres wide, and 1 of uvd: 1e-6 is 2e-3 mm; 3e-5 of a twist's cosine and sine are 2e-3 degrees
    np.testing.assert_allclose(other.uvd, plain.uvd, atol=1e-6, rtol=0)
    np.testing.assert_allclose(other.twists, plain.twists, atol=3e-5, rtol=0)

    def scored(config: ScoreConfig) -> np.ndarray:
        score = HypothesisScorer(load_scorer(micro_store.store, ModelDigest(micro_store.scorer)), config)
        return score(people.crops, plain.uvd, plain.twists, plain.betas)

    chosen = micro.CONFIG.score.model_copy(update={"compile": True})
    np.testing.assert_allclose(scored(chosen), scored(micro.CONFIG.score), atol=1e-6, rtol=0)
