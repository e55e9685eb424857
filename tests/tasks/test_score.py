"""Score: fair to left and right, the same alone and in the stage, and never silent about NaN."""

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from scipy.special import logit

from infra.spreads import spread_of
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import read
from models.cameras import mirror_joints, mirror_twist
from models.hmr_scorer import HMRScorer
from schemas.config.stages import PairConfig, ScoreConfig
from schemas.errors import ConfigError, DataError
from schemas.splits import WILD_TRAIN
from tasks import score as module
from tasks.rows.hypotheses import BY_SAMPLE, generated_ids, read_hypotheses
from tasks.rows.instances import load_instances
from tasks.rows.models import load_scorer, model_rows, save_model
from tasks.rows.scores import read_scored, read_scores
from tasks.score import HypothesisScorer
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture
def generated(micro_store: MicroStore) -> str:
    context = micro_store.context
    return (
        Generate((micro_store.ingest_key,), (WILD_TRAIN,), micro_store.policy, micro.CONFIG.generate).run(context).key
    )


def arrays(micro_store: MicroStore, generated: str) -> Arrays:
    stored = read_hypotheses(micro_store.store, generated, generated_ids(micro_store.store, generated))
    crops = load_instances(micro_store.store, [micro_store.ingest_key], stored.ids).crops
    return crops, stored.hypotheses.uvd, stored.hypotheses.twists


def mirrored(crops: np.ndarray, uvd: np.ndarray, twists: np.ndarray) -> Arrays:
    return (
        np.ascontiguousarray(crops[:, :, ::-1]),
        mirror_joints(torch.tensor(uvd)).numpy(),
        mirror_twist(torch.tensor(twists)).numpy(),
    )


def test_stage_gives_what_the_scorer_gives(micro_store: MicroStore, generated: str) -> None:
    keys = [micro_store.ingest_key]
    result = Score(generated, keys, micro_store.scorer).run(micro_store.context)
    assert result.key == Score(generated, keys, micro_store.scorer).spec(micro_store.context).key
    ids = generated_ids(micro_store.store, generated)
    stored = read_scores(micro_store.store, result.key, ids, np.arange(5))
    direct = HypothesisScorer(load_scorer(micro_store.store, micro_store.scorer), micro.CONFIG.score)
    np.testing.assert_allclose(stored, direct(*arrays(micro_store, generated)), atol=1e-6)
    assert ((stored > 0) & (stored < 1)).all()
    assert len(np.unique(stored)) > stored.size / 2
    rows = read(micro_store.store, "scores", stage_keys=[result.key])
    assert set(rows.column("scorer").to_pylist()) == {micro_store.scorer}
    assert set(rows.column("generation_id").to_pylist()) == {generated}
    with pytest.raises(DataError, match="scored other hypotheses"):
        read_scores(micro_store.store, result.key, ids, np.arange(4))


def test_how_far_the_hypotheses_lie_apart_is_said(micro_store: MicroStore, generated: str) -> None:
    """In millimetres, as lists measure it on the poses in the table; of the zero-noise one nothing is."""
    scored = Score(generated, [micro_store.ingest_key], micro_store.scorer).run(micro_store.context)
    said = read(micro_store.store, "scores", stage_keys=[scored.key], columns=["instance_id", "spread_mm"])
    drawn = read(micro_store.store, "hypotheses", stage_keys=[generated])
    columns = ["instance_id", "crop_size_px", "crop_intrinsics"]
    people = read(micro_store.store, "instances", stage_keys=[micro_store.ingest_key], columns=columns).to_pylist()
    reach = {row["instance_id"]: row["crop_size_px"] / 2 / row["crop_intrinsics"][0] for row in people}
    measured = spread_of(drawn.filter(pc.greater(drawn.column("sample_index"), 0)), reach)
    wanted = dict(zip(*(measured.column(name).to_pylist() for name in ("instance_id", "mm")), strict=True))
    assert min(wanted.values()) > 1
    assert len(said) == 5 * len(wanted)
    for row in said.to_pylist():
        assert row["spread_mm"] == pytest.approx(wanted[row["instance_id"]], rel=1e-6)


def test_a_hypothesis_alone_lies_apart_from_none(micro_store: MicroStore) -> None:
    alone = micro.CONFIG.generate.model_copy(update={"hypotheses": 1})
    keys = (micro_store.ingest_key,)
    drawn = Generate(keys, (WILD_TRAIN,), micro_store.policy, alone).run(micro_store.context).key
    scored = Score(drawn, keys, micro_store.scorer).run(micro_store.context)
    rows = read(micro_store.store, "scores", stage_keys=[scored.key])
    assert rows.column("spread_mm").null_count == len(rows) == scored.record.tally.ok


def test_mirrored_people_get_the_same_score_only_if_asked(micro_store: MicroStore, generated: str) -> None:
    given = arrays(micro_store, generated)
    torch.manual_seed(0)
    scorer = HMRScorer(micro.CONFIG.scorer.model_copy(update={"twists": 23})).eval()
    # an untrained decoder is silent, and with it the twists: agreement with the estimate alone would be mirrored here
    torch.nn.init.normal_(scorer.score_net.linear_mlp[-1].weight, std=0.02)
    for mirror, alike in ((True, True), (False, False)):
        measure = HypothesisScorer(scorer, ScoreConfig(mirror=mirror, microbatch=4))
        one, other = (logit(measure(*shown)) for shown in (given, mirrored(*given)))
        assert np.allclose(one, other, rtol=1e-4, atol=1e-4) == alike


def test_with_mirror_it_is_the_mean_of_both_before_the_sigmoid(micro_store: MicroStore, generated: str) -> None:
    given = arrays(micro_store, generated)
    scorer = load_scorer(micro_store.store, micro_store.scorer)
    plain, both = (HypothesisScorer(scorer, ScoreConfig(mirror=mirror)) for mirror in (False, True))
    mean = (logit(plain(*given)) + logit(plain(*mirrored(*given)))) / 2
    np.testing.assert_allclose(logit(both(*given)), mean, rtol=1e-4, atol=1e-4)


def test_without_mirror_it_is_the_scorers_own_score(micro_store: MicroStore, generated: str) -> None:
    crops, uvd, twists = arrays(micro_store, generated)
    scorer = load_scorer(micro_store.store, micro_store.scorer)
    pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = scorer(pictures, torch.tensor(uvd), torch.tensor(twists)).numpy()
    seen = HypothesisScorer(scorer, ScoreConfig(mirror=False, microbatch=7))(crops, uvd, twists)
    np.testing.assert_allclose(seen, expected, atol=1e-5)


@pytest.mark.parametrize("size", [1, 5, 24])
def test_microbatch_hardly_matters(micro_store: MicroStore, generated: str, size: int) -> None:
    given = arrays(micro_store, generated)
    scorer = load_scorer(micro_store.store, micro_store.scorer)
    one = HypothesisScorer(scorer, ScoreConfig())(*given)
    np.testing.assert_allclose(HypothesisScorer(scorer, ScoreConfig(microbatch=size))(*given), one, atol=1e-4)


def test_scores_that_are_not_finite_are_failures(
    micro_store: MicroStore, generated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = arrays(micro_store, generated)[1][3, 1]

    def load(store: Store, digest: str) -> HMRScorer:
        scorer = load_scorer(store, digest)
        judge = scorer.scores

        def broken(pyramid: object, estimate: object, uvd: torch.Tensor, twists: torch.Tensor) -> torch.Tensor:
            raw = judge(pyramid, estimate, uvd, twists)
            raw[(uvd == torch.tensor(victim)).all(-1).all(-1)] = torch.inf
            return raw

        scorer.scores = broken  # type: ignore[method-assign]
        return scorer

    monkeypatch.setattr(module, "load_scorer", load)
    result = Score(generated, (micro_store.ingest_key,), micro_store.scorer).run(micro_store.context)
    failed = read(micro_store.store, "failures", stage_keys=[result.key]).to_pylist()
    assert [(row["id"], row["reason"]) for row in failed] == [("wild/train/00000003#0", "not finite")]
    assert result.record.tally.ok == 23
    assert len(read(micro_store.store, "scores", stage_keys=[result.key])) == 23 * 5


def test_heads_leave_their_disagreement(micro_store: MicroStore, generated: str) -> None:
    network = micro.CONFIG.scorer.model_copy(update={"score_heads": 3, "sees_betas": True})
    torch.manual_seed(0)
    scorer = HMRScorer(network).eval()
    for head in scorer.score_net.score_heads:
        torch.nn.init.normal_(head[-1].weight, std=0.02)
    torch.nn.init.normal_(scorer.betas_in.weight, std=0.1)
    spec = StageSpec("untrained_scorer", 1, {"heads": 3})
    saved = save_model(micro_store.store, "scorer", scorer.state_dict(), network)
    commit_rows(micro_store.store, spec, {"models": model_rows(saved, spec.key)})
    result = Score(generated, (micro_store.ingest_key,), saved.digest).run(micro_store.context)
    rows = read(micro_store.store, "scores", stage_keys=[result.key]).sort_by(BY_SAMPLE)
    crops, uvd, twists = arrays(micro_store, generated)
    ids = generated_ids(micro_store.store, generated)
    betas = read_hypotheses(micro_store.store, generated, ids).hypotheses.betas
    one = HypothesisScorer(scorer, micro.CONFIG.score).of(crops, uvd, twists, betas)
    assert one.disagreement is not None
    np.testing.assert_allclose(rows.column("score").to_numpy(), one.scores.ravel(), atol=1e-6)
    np.testing.assert_allclose(rows.column("disagreement").to_numpy(), one.disagreement.ravel(), atol=1e-6)
    # and pairs go by it, where that is asked
    scored = read_scored(micro_store.store, result.key, ids, np.arange(5))
    np.testing.assert_array_equal(scored.disagreement, rows.column("disagreement").to_numpy().reshape(24, 5))
    config = PairConfig(strategy="surest", pairs_per_instance=1)
    made = Pair(generated, result.key, config).run(micro_store.context).key
    pairs = read(micro_store.store, "pairs", stage_keys=[made]).to_pylist()
    assert {row["strategy"] for row in pairs} == {"surest"}
    assert scored.disagreement is not None
    for row in pairs:
        scores, differ = (part[ids.index(row["instance_id"])] for part in scored)
        worth = (scores[:, None] - scores) / np.hypot(differ[:, None], differ)
        assert worth[row["winner"], row["loser"]] == worth.max()
    alone = Score(generated, (micro_store.ingest_key,), micro_store.scorer).run(micro_store.context).key
    with pytest.raises(ConfigError, match="these scores are of one head"):
        Pair(generated, alone, config).run(micro_store.context)
    pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    given = [torch.tensor(part) for part in (uvd, twists, betas)]
    with torch.no_grad():
        each = torch.sigmoid(5 * scorer.scores(*scorer.encode(pictures), *given).double()).numpy()
    found = HypothesisScorer(scorer, ScoreConfig(mirror=False)).of(crops, uvd, twists, betas)
    assert found.disagreement is not None
    np.testing.assert_allclose(found.disagreement, each.std(-1, ddof=1), atol=1e-5)


def test_one_head_disagrees_with_nobody(micro_store: MicroStore, generated: str) -> None:
    result = Score(generated, (micro_store.ingest_key,), micro_store.scorer).run(micro_store.context)
    assert read(micro_store.store, "scores", stage_keys=[result.key]).column("disagreement").null_count == 5 * 24
