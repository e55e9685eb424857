"""Evaluations as published: what stands in the tables is what the published definitions say of the same arrays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import torch

from infra.noise import standard_normal
from infra.tables import read
from models.joint_sets import HUMAN36M_OF_29
from models.published_metrics import (
    Order,
    published_candidates,
    published_joint_errors_mm,
    published_mpvpe_mm,
)
from models.recovery import recover_body
from schemas.config.engine import EngineConfig
from schemas.errors import ConfigError, DataError, EngineError
from schemas.ids import StageKey
from schemas.splits import SOURCE_TEST, WILD_TRAIN
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.evaluate import Errors
from tasks.evaluation.bodies import gt_labels, smpl_with_joints
from tasks.evaluation.measure_published import MEAN_OF_ALL, MEAN_OF_BEST, OTHER_BODY, PublishedMeter, PublishedWorker
from tasks.evaluation.published import published_table
from tasks.rows.hypotheses import Hypotheses, generated_ids, read_hypotheses
from tasks.rows.instances import NO_LABEL, load_instances
from tasks.rows.metrics import Metric, read_metrics
from tasks.rows.scores import read_scores
from tasks.stages.published import ComparePublished, EvaluatePublished, MeasurePublished
from tests.parity.body import arrays, human36m_regressor
from tests.parity.published import Aggregates, aggregates
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow

M = 6
TARGET = SOURCE_TEST
PEOPLE = 12


def evaluated(
    held: MicroStore,
    protocol: Order = "3dpw",
    scored: bool = True,
    target: Any = TARGET,
    keys: Any = None,
    config: EngineConfig = micro.CONFIG,
    bodies: str = "tiny",
) -> tuple[StageResult, str]:
    """The stage done, and the key of the one that measured."""
    context = Context(held.store, config, in_process=True)
    scorer = held.scorer if scored else None
    ingests = tuple(keys or [held.ingest_key])
    measurement = MeasurePublished(ingests, target, held.policy, scorer, M, protocol, bodies)
    result = EvaluatePublished(measurement).run(context)
    assert result.key == EvaluatePublished(measurement).key(context)
    return result, measurement.key(context)


def directly(held: MicroStore, key: str, protocol: Order, scored: bool = True) -> dict[str, Aggregates]:
    """The aggregates by name of error, of all instances at once."""
    ids = generated_ids(held.store, key)
    assert len(ids) == PEOPLE
    found, body = load_instances(held.store, [held.ingest_key], ids), smpl_with_joints("tiny")
    made = read_hypotheses(held.store, key, ids).hypotheses
    scores = torch.from_numpy(read_scores(held.store, key, ids, np.arange(M)).copy()) if scored else None
    candidates = published_candidates(torch.from_numpy(made.uvd.copy()), torch.from_numpy(made.twists.copy()), scores)
    each = candidates.uvd.shape[1]

    def repeated(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.copy()).repeat_interleave(each, 0)

    recovered = recover_body(
        body.body,
        candidates.uvd.flatten(0, 1),
        candidates.twists.flatten(0, 1),
        repeated(made.betas[:, 0]),
        repeated(found.crop_intrinsics),
        found.crop_size,
        repeated(found.root_depth),
        root="published",
    )
    label = body.body(roma.rotvec_to_rotmat(torch.from_numpy(found.theta)), torch.from_numpy(found.betas))
    joints = recovered.joints[:, list(HUMAN36M_OF_29)].unflatten(0, (PEOPLE, each))
    truth = label.joints[:, None, list(HUMAN36M_OF_29)]
    vertices = recovered.vertices.unflatten(0, (PEOPLE, each))
    errors = published_joint_errors_mm(joints, truth, protocol)
    return {
        "mpvpe": aggregates(published_mpvpe_mm(vertices, joints, label.vertices[:, None], truth), candidates.scores),
        "mpjpe": aggregates(errors.mpjpe.mean(-1), candidates.scores),
        "pa_mpjpe": aggregates(errors.pa_mpjpe.mean(-1), candidates.scores),
    }


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    assert len({metric.name for metric in metrics}) == len(metrics)
    return {metric.name: metric for metric in metrics}


@pytest.mark.parametrize("protocol", ["3dpw", "human36m"])
def test_metrics_are_the_published_aggregates(micro_store: MicroStore, protocol: Order) -> None:
    result, measured = evaluated(micro_store, protocol)
    found, expected = by_name(read_metrics(micro_store.store, result.key)), directly(micro_store, measured, protocol)
    assert len(found) == 12
    for error, columns in expected.items():
        for figure, value in columns._asdict().items():
            metric = found[f"{figure}_{error}"]
            assert metric.value == pytest.approx(value, abs=0.02), metric.name
            assert (metric.unit, metric.n, metric.role, metric.target) == ("mm", PEOPLE, protocol, TARGET)
            assert metric.model == micro_store.policy
            assert metric.low is not None
            assert metric.high is not None
            assert metric.low <= metric.value <= metric.high
    assert found["published_min_mpvpe"].value < found["published_zero_noise_mpvpe"].value


def test_two_policies_are_compared_on_the_same_people(micro_store: MicroStore) -> None:
    """Figures are those that either policy has alone; the change is of the people whom both have."""
    store, context = micro_store.store, micro_store.context
    other = micro.untrained(store, "policy", seed=5)
    before, after = (
        MeasurePublished((micro_store.ingest_key,), TARGET, policy, micro_store.scorer, M, "3dpw", "tiny")
        for policy in (micro_store.policy, other)
    )
    compared = ComparePublished(before.run(context).key, after.run(context).key, TARGET)
    result = compared.run(context)
    assert result.key == compared.key(context)
    rows = {(one.name, one.role): one for one in read_metrics(store, result.key)}
    for role, measurement in (("before", before), ("after", after)):
        alone = by_name(read_metrics(store, EvaluatePublished(measurement).run(context).key))
        assert {name for name, one in rows if one == role} == set(alone)
        for name, metric in alone.items():
            assert replace(rows[name, role], role="3dpw") == metric
    assert {name for name, role in rows if role == "change"} == {name for name, role in rows if role == "after"}
    for name, metric in ((name, one) for (name, role), one in rows.items() if role == "change"):
        percent = 100 * (rows[name, "after"].value / rows[name, "before"].value - 1)
        assert (metric.value, metric.unit, metric.model) == (pytest.approx(percent), "%", other)


def test_only_figures_that_both_have_are_compared(micro_store: MicroStore) -> None:
    """As where a scorer was given to one of two measurements."""
    context, ingests = micro_store.context, (micro_store.ingest_key,)
    scored, alone = (
        MeasurePublished(ingests, TARGET, micro_store.policy, scorer, M, "3dpw", "tiny").run(context).key
        for scorer in (micro_store.scorer, None)
    )
    compared = [
        {one.name for one in read_metrics(micro_store.store, ComparePublished(*sides, TARGET).run(context).key)}
        for sides in ((scored, scored), (scored, alone), (alone, scored))
    ]
    assert compared[1] == compared[2] == {name for name in compared[0] if "select" not in name}
    assert len(compared[1]) == 9


def without_the_first(rows: list[dict[str, Any]]) -> None:
    rows.sort(key=lambda row: str(row["instance_id"]))
    del rows[0]


def test_people_whom_one_measurement_lacks_are_left_out_of_both(micro_store: MicroStore) -> None:
    store, context = micro_store.store, micro_store.context
    fewer = micro.reingested(store, TARGET, without_the_first)
    before, after = (
        MeasurePublished((ingest,), TARGET, micro_store.policy, micro_store.scorer, M, "3dpw", "tiny")
        for ingest in (micro_store.ingest_key, fewer)
    )
    compared = ComparePublished(before.run(context).key, after.run(context).key, TARGET).run(context)
    rows = {(one.name, one.role): one for one in read_metrics(store, compared.key)}
    assert {one.n for one in rows.values()} == {PEOPLE - 1}
    everybody = published_table(store, before.key(context), scored=True)
    for name, values in everybody.figures.items():
        assert rows[name, "before"].value == pytest.approx(values[1:].mean())


def test_a_measurement_that_is_none(micro_store: MicroStore) -> None:
    key = StageKey(micro_store.ingest_key)
    with pytest.raises(DataError, match="There is no finished measurement"):
        ComparePublished(key, key, TARGET).run(micro_store.context)


def test_the_protocols_differ_in_the_alignment_alone(micro_store: MicroStore) -> None:
    one, other = (
        by_name(read_metrics(micro_store.store, evaluated(micro_store, protocol)[0].key))
        for protocol in ("3dpw", "human36m")
    )
    for name, metric in one.items():
        same = metric.value == pytest.approx(other[name].value, abs=1e-6)
        assert same == ("pa_mpjpe" not in name), name


def test_without_a_scorer_nothing_is_selected(micro_store: MicroStore) -> None:
    result, measured = evaluated(micro_store, scored=False)
    found, expected = (
        by_name(read_metrics(micro_store.store, result.key)),
        directly(micro_store, measured, "3dpw", False),
    )
    assert len(found) == 9
    assert not any("select" in name for name in found)
    for error in Errors._fields:
        last = found[f"published_hypotheses_mean_{error}"].value
        assert last == pytest.approx(expected[error].published_hypotheses_mean, abs=0.02)
    assert len(read(micro_store.store, "scores", stage_keys=[measured])) == 0


def test_rows_of_errors_are_told_apart(micro_store: MicroStore) -> None:
    _, measured = evaluated(micro_store)
    rows = read(micro_store.store, "errors", stage_keys=[measured]).to_pylist()
    assert len(rows) == PEOPLE * (M + 2)
    assert {row["label_set"] for row in rows} == {"published 3dpw"}
    one = [row["sample_index"] for row in rows if row["instance_id"] == rows[0]["instance_id"]]
    assert sorted(one) == [MEAN_OF_ALL, MEAN_OF_BEST, *range(M)]


def test_found_again_and_the_same_whatever_the_shards(micro_store: MicroStore) -> None:
    result, measured = evaluated(micro_store)
    again, _ = evaluated(micro_store)
    assert (result.reused, again.reused, again.key) == (False, True, result.key)
    config = micro.CONFIG.model_copy(deep=True)
    drawn = config.evaluate.generate.model_copy(update={"shard_size": 5})
    config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"generate": drawn})})
    other, apart = evaluated(micro_store, config=config)
    assert other.key != result.key
    one, two = (
        read(micro_store.store, "errors", stage_keys=[key])
        .drop_columns(["stage_key", "generation_id"])
        .sort_by([("instance_id", "ascending"), ("sample_index", "ascending")])
        for key in (measured, apart)
    )
    assert one.equals(two)


def test_a_broken_run_goes_on(micro_store: MicroStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = PublishedWorker.work, []

    def breaks(self: PublishedWorker, shard: Any) -> Any:
        calls.append(shard.index)
        if len(calls) == 2:
            raise EngineError("the power is gone")
        return original(self, shard)

    monkeypatch.setattr(PublishedWorker, "work", breaks)
    with pytest.raises(EngineError, match="the power"):
        evaluated(micro_store)
    result, _ = evaluated(micro_store)
    assert calls == [0, 1, 1]
    assert len(read_metrics(micro_store.store, result.key)) == 12


def test_given_joints_are_the_truth_of_joints_and_not_of_the_mesh(micro_store: MicroStore) -> None:
    found = load_instances(micro_store.store, [micro_store.ingest_key], [f"{TARGET}/{0:08d}#0"])
    label = gt_labels(micro_store.store, [micro_store.ingest_key], found.ids)[found.ids[0]]
    perfect = Hypotheses(found.uvd[:, None], found.twists[:, None], found.betas[:, None], found.root_depth[:, None])
    meter = PublishedMeter(smpl_with_joints("tiny"), "3dpw")
    exact = meter(found, perfect, None, 0, label)
    assert all(values.max() < 1 for values in exact)
    joints = np.array(label["joints"]).reshape(29, 3)[list(HUMAN36M_OF_29)]
    moved = joints.copy()
    moved[13, 1] += 0.14  # one of the 14
    moved[9] += 1  # the nose, which is not
    for given, expected in ((joints, 0.0), (moved, 10.0)):
        errors = meter(found, perfect, None, 0, {**label, "human36m": given.ravel().tolist()})
        assert errors.mpjpe[0] == pytest.approx(expected, abs=0.5)
        assert errors.mpvpe[0] == exact.mpvpe[0]


def test_whoever_cant_be_measured_says_why(micro_store: MicroStore) -> None:
    def one_of_another_kind(labels: list[dict[str, Any]]) -> None:
        labels[0]["body_model"] = "smplx"
        del labels[1]

    key = micro.reingested(micro_store.store, TARGET, one_of_another_kind)
    _, measured = evaluated(micro_store, keys=[key])
    failures = read(micro_store.store, "failures", stage_keys=[measured]).to_pylist()
    assert sorted((row["reason"], row["outcome"]) for row in failures) == [
        (NO_LABEL, "filtered"),
        (OTHER_BODY, "filtered"),
    ]
    assert len(generated_ids(micro_store.store, measured)) == PEOPLE - 2


def test_labels_of_another_body_ask_for_it(micro_store: MicroStore) -> None:
    def of_another_body(labels: list[dict[str, Any]]) -> None:
        labels[3]["body_digest"] = "0" * 64

    key = micro.reingested(micro_store.store, TARGET, of_another_body)
    with pytest.raises(DataError, match="belongs to another body than 'body_tiny'"):
        evaluated(micro_store, keys=[key])


def test_nobody_to_measure(micro_store: MicroStore) -> None:
    with pytest.raises(DataError, match="No instance could be measured"):
        evaluated(micro_store, target=WILD_TRAIN)


def test_crops_of_a_size_that_the_policy_does_not_take(micro_store: MicroStore) -> None:
    small = micro.CONFIG.policy.condition.model_copy(update={"image_size": 32})
    config = micro.CONFIG.model_copy(update={"policy": micro.CONFIG.policy.model_copy(update={"condition": small})})
    other = micro_store._replace(policy=micro.untrained(micro_store.store, "policy", config, seed=2))
    with pytest.raises(DataError, match="are 64 px wide, but the policy takes 32 px"):
        evaluated(other)


def test_one_hypothesis_is_too_few(micro_store: MicroStore) -> None:
    measurement = MeasurePublished((micro_store.ingest_key,), TARGET, micro_store.policy, None, 1, "3dpw", "tiny")
    with pytest.raises(ConfigError, match="needs 2 or more"):
        EvaluatePublished(measurement).run(micro_store.context)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published bodies' layout with an SMPL body of our own, without its regressor."""
    folder = tmp_path_factory.mktemp("bodies")
    smpl = folder / "human_model_files" / "smpl"
    smpl.mkdir(parents=True)
    np.savez(smpl / "SMPL_NEUTRAL.npz", **arrays())  # type: ignore[arg-type]
    return folder


def test_a_folder_of_bodies_brings_its_regressor(micro_store: MicroStore, bodies: Path) -> None:
    with pytest.raises(DataError, match=r"J_regressor_h36m\.npy"):
        smpl_with_joints(str(bodies))
    np.save(bodies / "human_model_files" / "smpl" / "J_regressor_h36m.npy", human36m_regressor().numpy())
    found = smpl_with_joints(str(bodies))
    turns = torch.from_numpy(0.2 * standard_normal(0, "anyone", 0, (1, 24, 3)))
    posed = found.body(roma.rotvec_to_rotmat(turns), torch.zeros(1, 10))
    expected = human36m_regressor() @ posed.vertices
    assert torch.equal(found.seventeen(posed.vertices, posed.joints), expected)
    assert found.digest != smpl_with_joints("tiny").digest
    result, _ = evaluated(micro_store, bodies=str(bodies))
    assert len(read_metrics(micro_store.store, result.key)) == 12
