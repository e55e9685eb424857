"""Numbers of people by hand and against what the evaluation itself measured; the stage that compares them."""

import shutil

import numpy as np
import pytest
import torch

from infra.store import Store
from infra.tables import read
from models.cameras import camera_from_uvd
from models.measures.samples import expected_best
from schemas.errors import ConfigError
from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_VALIDATION
from schemas.tables import matrix
from tasks.compare import evaluation_table
from tasks.measures.columns import Columns, figures_of, measured
from tasks.measures.stage import Measures
from tasks.measures.table import COMPARED, NEW
from tasks.rows.metrics import read_metrics
from tasks.stages.evaluate import Evaluate
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow
TARGETS = (WILD_VALIDATION, SOURCE_TEST)
Evaluated = tuple[MicroStore, str, str]
"""A store with evaluations of two policies, the second on one split less and without scores."""


@pytest.fixture(scope="module")
def evaluated(shared_micro_store: MicroStore, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("measures") / "store"
    shutil.copytree(shared_micro_store.store.root, folder)
    held = shared_micro_store._replace(store=Store.open(folder))
    other = micro.untrained(held.store, "policy", seed=2)
    ingests, config = (held.ingest_key,), micro.CONFIG.evaluate
    before = Evaluate(ingests, TARGETS, held.policy, held.scorer, config).run(held.context).key
    after = Evaluate(ingests, TARGETS[:1], other, None, config).run(held.context).key
    return held, before, after


def of(evaluated: Evaluated) -> Columns:
    held, before, _ = evaluated
    return measured(held.store, before, micro.CONFIG)[WILD_VALIDATION]


def test_every_measure_has_numbers(evaluated: Evaluated) -> None:
    held, before, _ = evaluated
    found = of(evaluated)
    figures = figures_of(held.store, before)[WILD_VALIDATION]
    assert found.ids == figures.ids
    assert found.samples == figures.samples == micro.CONFIG.evaluate.generate.hypotheses - 1
    beyond = {f"best_of_{size}_{error}" for size in (5, 10, 25, 50, 100) for error in ("mpvpe", "mpjpe")}
    assert {name for measure in NEW for name in measure.of} - set(found.values) == beyond
    assert {measure.name for measure in COMPARED} == set(figures.values)
    for name, values in found.values.items():
        assert values.shape == (len(found.ids),), name
        assert np.isfinite(values).any(), name


def test_numbers_agree_with_the_errors_of_the_evaluation(evaluated: Evaluated) -> None:
    """Bodies posed here have the joints that were measured there: the 24 joints' mean error, pelvis included."""
    held, before, _ = evaluated
    found, table = of(evaluated), evaluation_table(held.store, before)[WILD_VALIDATION]
    sights = [found.values[f"expected_{sight}_mpjpe"] for sight in ("seen", "hidden", "outside")]
    mpjpe = table.errors["mpjpe"][:, 1:].mean(axis=1)
    alone = np.isnan(sights[1]) & np.isnan(sights[2])
    assert alone.any(), "somebody whose joints are all seen"
    np.testing.assert_allclose(sights[0][alone], mpjpe[alone], rtol=1e-4)
    np.testing.assert_allclose(found.values["best_of_1_mpjpe"], mpjpe)
    np.testing.assert_array_equal(found.values["best_of_1_mpvpe"], expected_best(table.errors["mpvpe"][:, 1:], 1))
    assert (found.values["energy_score"] < mpjpe).all()


def test_joints_outside_of_the_picture_are_told_by_its_size(evaluated: Evaluated) -> None:
    held, _, _ = evaluated
    found = of(evaluated)
    people = read(held.store, "instances").to_pylist()
    sizes = {row["image_id"]: (row["width_px"], row["height_px"]) for row in read(held.store, "images").to_pylist()}
    labels = {row["instance_id"]: row for row in read(held.store, "labels").to_pylist()}
    cut = {}
    for row in people:
        if row["instance_id"] in found.ids:
            joints = np.array(labels[row["instance_id"]]["joints"]).reshape(29, 3)[:24]
            fx, fy, cx, cy = row["image_intrinsics"]
            at = joints[:, :2] / joints[:, 2:] * (fx, fy) + (cx, cy)
            width, height = sizes[row["image_id"]]
            cut[row["instance_id"]] = ((at < 0) | (at > (width, height))).any()
    outside = ~np.isnan(found.values["zero_noise_outside_mpjpe"])
    np.testing.assert_array_equal(outside, [cut[name] for name in found.ids])


def test_the_reprojection_is_in_pixels_of_the_crop(evaluated: Evaluated) -> None:
    held, before, _ = evaluated
    found = of(evaluated)
    rows = read(held.store, "hypotheses", stage_keys=[before], ids=[found.ids[0]]).sort_by("sample_index")
    people = read(held.store, "instances", ids=[found.ids[0]])
    label = read(held.store, "labels", ids=[found.ids[0]])
    size = people.column("crop_size_px")[0].as_py()
    fx, fy, *_ = matrix(people, "crop_intrinsics")[0]
    truth = np.array(matrix(label, "joints")[0]).reshape(29, 3)
    uvd = torch.tensor(matrix(rows, "uvd")[0]).view(1, 29, 3)
    camera = torch.tensor(matrix(people, "crop_intrinsics"), dtype=torch.float32)
    pelvis = camera_from_uvd(uvd, camera, size, torch.tensor([truth[0, 2]], dtype=torch.float32))[0, 0].numpy()
    apart = np.hypot(*((pelvis[:2] / pelvis[2] - truth[0, :2] / truth[0, 2]) * (fx, fy)))
    # the pelvis is one of 24 joints, whose mean distance this is
    assert found.values["zero_noise_reprojection"][0] >= apart / 24 - 1e-3
    assert (found.values["expected_reprojection"] > 0).all()
    assert (found.values["expected_reprojection"] < 10 * size).all()


def test_the_stage_writes_what_both_were_measured_on(evaluated: Evaluated) -> None:
    held, before, after = evaluated
    stage = Measures(before, after, {"itself": before})
    result = stage.run(held.context)
    metrics = read_metrics(held.store, result.key)
    assert {one.target for one in metrics} == {WILD_VALIDATION}
    assert {one.role for one in metrics} >= {"before", "after", "change", "itself", "change_itself"}
    values = {(one.name, one.role): one for one in metrics}
    found = of(evaluated).values
    assert values["energy_score", "before"].value == pytest.approx(found["energy_score"].mean())
    assert values["energy_score", "change_itself"].value == 0
    assert values["energy_score", "change"].low is not None
    spread = np.sqrt(found["spread_squared"].mean() / found["error_squared"].mean())
    assert values["spread_over_error", "before"].value == pytest.approx(spread)
    assert values["energy_score", "after"].model != values["energy_score", "before"].model == held.policy
    assert stage.run(held.context).reused


def test_another_body_is_refused(evaluated: Evaluated) -> None:
    held, before, _ = evaluated
    with pytest.raises(ConfigError, match="was measured with another body than 'full'"):
        measured(held.store, before, micro.CONFIG.model_copy(update={"body": "full"}))


def test_nothing_is_shared_with_a_split_that_was_not_measured(evaluated: Evaluated) -> None:
    held, _, after = evaluated
    assert WILD_TEST not in measured(held.store, after, micro.CONFIG)
