"""A scorer's image encoder gets 16 bits only where that leaves the order of hypotheses as it is."""

from pathlib import Path

import numpy as np
import pytest

from infra.store import Store
from models.hmr_scorer import HMRScorer
from schemas.config.stages import ScoreConfig
from schemas.errors import ConfigError
from schemas.ids import ModelDigest
from schemas.splits import SOURCE_TEST, WILD_TRAIN, WILD_VALIDATION
from tasks import half_scorer
from tasks.engine.context import Context
from tasks.evaluate import EvaluateWorker
from tasks.half_scorer import Posed, agreement, check_half_scorer
from tasks.rows.models import load_scorer
from tasks.score import HypothesisScorer, ScoreWorker
from tasks.stages.evaluate import Evaluate
from tasks.stages.generate import Generate
from tasks.stages.score import Score
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

HALF = ScoreConfig(mirror=False, encoder_precision="bfloat16")
DIGEST = ModelDigest("f" * 64)


def some(people: int = 40, hypotheses: int = 12) -> Posed:
    draw = np.random.default_rng(0)
    uvd = draw.standard_normal((people, hypotheses, 29, 3), dtype=np.float32)
    twists, betas = (np.zeros((people, hypotheses, *shape), np.float32) for shape in ((23, 2), (10,)))
    return Posed(np.zeros((people, 8, 8, 3), np.uint8), uvd, twists, betas)


class Plain:
    """Scores a hypothesis by its first number, and that of a share of all by noise."""

    def __init__(self, noise: float = 0.0, lacking: bool = False) -> None:
        self.noise, self.lacking = noise, lacking

    def __call__(self, crops: np.ndarray, uvd: np.ndarray, twists: np.ndarray, betas: np.ndarray) -> np.ndarray:
        scores: np.ndarray = uvd[:, :, 0, 0] + self.noise * uvd[:, :, 1, 1]
        if self.lacking:
            scores[0, 0] = np.nan
        return scores


def test_the_same_order_agrees_wholly() -> None:
    assert agreement(Plain(), Plain(), some()) == pytest.approx(1)
    assert agreement(Plain(lacking=True), Plain(), some()) == pytest.approx(1)
    assert agreement(Plain(1.0), Plain(), some()) < 0.8


def test_of_single_hypotheses_people_are_ranked() -> None:
    assert agreement(Plain(), Plain(), some(hypotheses=1)) == pytest.approx(1)
    assert 0.5 < agreement(Plain(1.0), Plain(), some(hypotheses=1)) < 0.9


def test_another_order_is_refused_with_the_figure_and_the_finding_is_kept(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    found = agreement(Plain(0.5), Plain(), some())
    with pytest.raises(ConfigError, match=f"rank correlation of {found:.4f} with those in float32, and 0.995 is"):
        check_half_scorer(Plain(0.5), Plain(), store, DIGEST, {}, some)
    with pytest.raises(ConfigError, match=f"{found:.4f}"):
        check_half_scorer(Plain(), Plain(), store, DIGEST, {}, some)  # it was measured
    check_half_scorer(Plain(), Plain(), store, DIGEST, {"mirror": True}, some)


def half_of(held: MicroStore) -> Context:
    return Context(held.store, micro.CONFIG.model_copy(update={"score": HALF}), in_process=True)


@pytest.mark.slow
def test_stages_measure_before_they_score(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    held, context = micro_store, half_of(micro_store)
    ingests, targets = (held.ingest_key,), (WILD_TRAIN,)
    generation = Generate(ingests, targets, held.policy, micro.CONFIG.generate).run(context).record.stage_key
    stage = Score(generation, ingests, held.scorer)
    evaluation = Evaluate(ingests, targets, held.policy, held.scorer, micro.CONFIG.evaluate)
    monkeypatch.setattr(half_scorer, "LIMIT", -1.0)
    worker = ScoreWorker(stage, context)
    EvaluateWorker(evaluation, context)
    assert len(held.store.list_files("precision")) == 2
    full = HypothesisScorer(_scorer(held), ScoreConfig(mirror=False))
    given = worker._some(["wild/train/00000000#0"])
    assert 0 < np.abs(worker.score(*given) - full(*given)).max() < 0.1
    monkeypatch.setattr(half_scorer, "LIMIT", 1.1)
    for refused, of in ((ScoreWorker, stage), (EvaluateWorker, evaluation)):
        with pytest.raises(ConfigError, match=r"Set score\.encoder_precision=float32"):
            refused(of, context)  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_was_found_of_some_people_says_nothing_of_others(
    micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, context = micro_store, half_of(micro_store)
    evaluations = [
        Evaluate((held.ingest_key,), targets, held.policy, held.scorer, micro.CONFIG.evaluate)
        for targets in ((WILD_VALIDATION,), (SOURCE_TEST,))
    ]
    monkeypatch.setattr(half_scorer, "LIMIT", -1.0)
    for count, evaluation in enumerate(evaluations, 1):
        EvaluateWorker(evaluation, context)
        assert len(held.store.list_files("precision")) == count
    EvaluateWorker(evaluations[0], context)
    assert len(held.store.list_files("precision")) == 2, "measured once"


def _scorer(held: MicroStore) -> HMRScorer:
    return load_scorer(held.store, held.scorer)
