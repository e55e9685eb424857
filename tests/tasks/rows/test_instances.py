"""Instances as arrays: order, labels, and the errors for what is not there."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from infra.stages import StageSpec, commit_rows
from infra.tables import read
from models.cameras import uvd_from_camera
from schemas.digests import canonical_json
from schemas.errors import DataError
from schemas.ids import Target
from schemas.splits import SOURCE_TEST, WILD_TEST, WILD_TRAIN
from tasks.engine.context import Context
from tasks.rows.instances import instance_ids, labelled_crops, load_instances, pseudo_labelled_crops
from tasks.stages.clean import Keep
from tasks.synthesize.domains import domain_named
from tasks.synthesize.picture import make_picture
from tests.tasks import micro
from tests.tasks.conftest import MicroStore


def test_targets_hold_their_instances(shared_micro_store: MicroStore) -> None:
    store, keys = shared_micro_store.store, [shared_micro_store.ingest_key]
    for target, count in micro.COUNTS.items():
        ids = instance_ids(store, keys, [target])
        assert len(ids) == count
        assert all(name.startswith(f"{target}/") for name in ids)
        assert ids == sorted(ids)
    both = instance_ids(store, keys, [WILD_TEST, SOURCE_TEST])
    assert len(both) == len(set(both)) == 24
    with pytest.raises(DataError, match=r"no instance of moon/dark .* scorer/train, source/test, source/train, wild"):
        instance_ids(store, keys, [Target("moon", "dark")])
    with pytest.raises(DataError, match="they have: none"):
        instance_ids(store, ["0" * 64], [WILD_TEST])


def test_rows_come_in_the_order_asked_for_with_their_labels(shared_micro_store: MicroStore) -> None:
    store, keys = shared_micro_store.store, [shared_micro_store.ingest_key]
    ids = ["wild/train/00000003#0", "source/test/00000005#0", "scorer/train/00000000#0", "source/test/00000001#0"]
    found = load_instances(store, keys, ids)
    assert found.ids == tuple(ids)
    assert found.dataset == ("wild", "source", "scorer", "source")
    assert found.split == ("train", "test", "train", "test")
    assert found.labelled.tolist() == [False, True, True, True]
    assert found.crops.shape == (4, 64, 64, 3)
    assert found.crops.dtype == np.uint8
    assert np.isnan(found.uvd[0]).all()
    assert np.isnan(found.root_depth[0])
    picture = make_picture(domain_named("source"), "test", 5, 0)
    np.testing.assert_array_equal(found.theta[1, 0], picture.label.global_orient)
    np.testing.assert_array_equal(found.theta[1, 1:].ravel(), picture.label.body_pose)
    np.testing.assert_array_equal(found.twists[1], picture.label.twist)
    assert found.root_depth[1] == picture.label.joints[0, 2]
    alone = load_instances(store, keys, [ids[2]])
    np.testing.assert_array_equal(alone.crops[0], found.crops[2])
    np.testing.assert_array_equal(alone.uvd[0], found.uvd[2])


def test_uvd_is_where_the_body_is_in_the_crop(shared_micro_store: MicroStore) -> None:
    found = load_instances(shared_micro_store.store, [shared_micro_store.ingest_key], ["source/test/00000001#0"])
    picture = make_picture(domain_named("source"), "test", 1, 0)
    joints = torch.from_numpy(picture.label.joints)[None]
    uvd, depth = uvd_from_camera(joints, torch.from_numpy(found.crop_intrinsics), found.crop_size)
    np.testing.assert_allclose(found.uvd, uvd.numpy(), atol=1e-6)
    np.testing.assert_allclose(found.root_depth, depth.numpy(), atol=1e-6)
    assert (np.abs(found.uvd[..., :2]) < 1).all()  # an uncut person lies within the padded crop
    assert np.abs(found.uvd[..., 2]).max() < 1.2
    assert found.uvd[0, 0, 2] == 0


def test_what_is_not_there_is_named(shared_micro_store: MicroStore) -> None:
    store, keys = shared_micro_store.store, [shared_micro_store.ingest_key]
    with pytest.raises(DataError, match="1 of 2 instances are not in the ingests given; the first: wild/test/x#0"):
        load_instances(store, keys, ["wild/test/00000000#0", "wild/test/x#0"])
    with pytest.raises(DataError, match="No instance was asked for"):
        load_instances(store, keys, [])
    with pytest.raises(DataError, match=r"24 of 24 instances have no label \(the first: wild/train/00000000#0\)"):
        labelled_crops(store, micro.of(keys[0], WILD_TRAIN))
    with pytest.raises(DataError, match="left no label to train on"):
        pseudo_labelled_crops(store, micro.of(keys[0], WILD_TRAIN), ["0" * 64])


def test_labels_of_another_stage(micro_store: MicroStore) -> None:
    """Pseudo-labels stand beside the gt ones and are used only where their stage is named."""
    store, key = micro_store.store, micro_store.ingest_key
    spec = StageSpec("guess", 1, {})
    labels = read(store, "labels", stage_keys=[key]).to_pylist()
    guessed = [row for row in labels if row["instance_id"].startswith("wild/test/")][:5]
    schema = read(store, "labels").schema
    rows = [
        {**row, "label_kind": "pseudo", "label_set": "guess", "betas": [9.0] * 10, "stage_key": spec.key}
        for row in guessed
    ]
    commit_rows(store, spec, {"labels": pa.Table.from_pylist(rows, schema=schema)})
    found = pseudo_labelled_crops(store, micro.of(key, WILD_TEST), [spec.key])
    assert len(found) == 5
    assert (found.betas == 9.0).all()
    assert not (labelled_crops(store, micro.of(key, WILD_TEST)).betas == 9.0).any()
    with pytest.raises(DataError, match="has more than one label in the stages"):
        pseudo_labelled_crops(store, micro.of(key, WILD_TEST), [spec.key, key])


def test_labels_that_lack_joints_are_not_trained_on(micro_store: MicroStore) -> None:
    store, key = micro_store.store, micro_store.ingest_key
    spec = StageSpec("partial", 1, {})
    rows = read(store, "labels", stage_keys=[key]).slice(0, 3).to_pylist()
    for row in rows:
        row |= {"label_kind": "pseudo", "label_set": "partial", "stage_key": spec.key}
    rows[1]["joints_valid"] = [place != 7 for place in range(29)]
    commit_rows(store, spec, {"labels": pa.Table.from_pylist(rows, schema=read(store, "labels").schema)})
    found = load_instances(store, [key], [rows[1]["instance_id"]], label_keys=[spec.key])
    assert np.isnan(found.uvd[0, 7]).all()
    assert np.isfinite(np.delete(found.uvd[0], 7, axis=0)).all()
    with pytest.raises(
        DataError, match=f"1 of 3 instances have not all 29 joints .the first: {rows[1]['instance_id']}"
    ):
        pseudo_labelled_crops(store, micro.of(key, WILD_TEST), [spec.key])


def test_the_round_is_recorded_and_does_not_count(shared_micro_store: MicroStore) -> None:
    outside = shared_micro_store.context
    inside = Context(outside.store, outside.config, round=3)
    first, second = (Keep("x" * 64, "y" * 64, 0.5).spec(context) for context in (outside, inside))
    assert first.key == second.key
    assert (outside.partition, inside.partition) == (0, 3)
    assert (first.recorded_round, second.recorded_round) == (None, 3)
    assert canonical_json(first.config) == '{"keep_share":0.5}'
