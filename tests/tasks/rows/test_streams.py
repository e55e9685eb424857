"""Data that does not fit into memory is the same data: same ids, same crops, same labels, same trained bits."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra import node_cache
from infra.node_cache import NodeCache
from infra.stages import StageSpec, commit_rows
from infra.store import Store
from infra.tables import read
from schemas.errors import DamagedError, DataError
from schemas.splits import SCORER_TRAIN, SOURCE_TRAIN, WILD_TEST, WILD_TRAIN
from schemas.tables import build
from tasks.engine.context import Context
from tasks.engine.stage import TrainingStage
from tasks.rows.cached_crops import CachedCrops
from tasks.rows.instances import instance_ids, labelled_crops, load_instances, pseudo_labelled_crops
from tasks.rows.mix import Mix
from tasks.rows.models import model_of
from tasks.rows.streams import Space, crops_of, pseudo_training_crops, training_crops
from tasks.stages.training import Align, TrainBase, TrainClean, TrainScorer
from tasks.train import pool
from tests.tasks import micro
from tests.tasks.conftest import MicroStore
from tests.tasks.train.test_align_stage import commit_pairs


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Space:
    """No room in memory at all."""
    monkeypatch.setattr(node_cache, "_IN_MEMORY", 0)
    return Space(NodeCache(tmp_path / "cache", 2**30), 0)


def cached(space: Space) -> list[Path]:
    return sorted(space.cache.folder.glob("*.arrow"))


def test_streamed_it_is_the_same(shared_micro_store: MicroStore, space: Space) -> None:
    store, key = shared_micro_store.store, shared_micro_store.ingest_key
    mix = Mix((key,), (SOURCE_TRAIN, SCORER_TRAIN), (1.0, 2.0))
    held, streamed = labelled_crops(store, mix), training_crops(store, mix, space)
    assert isinstance(streamed.crops, CachedCrops)
    assert isinstance(streamed.uvd, np.memmap)
    assert streamed.crops.shape == held.crops.shape == (96, 64, 64, 3)
    rows = np.array([95, 0, 40, 40])
    np.testing.assert_array_equal(streamed.crops[rows], held.crops[rows])
    for name in ("uvd", "twists", "betas"):
        np.testing.assert_array_equal(getattr(streamed, name), getattr(held, name))
    assert streamed.chances is not None
    assert held.chances is not None
    np.testing.assert_array_equal(streamed.chances.each, held.chances.each)
    (file,) = cached(space)
    before = file.stat().st_ino
    training_crops(store, mix, space)
    assert [file.stat().st_ino for file in cached(space)] == [before], "made once"
    with_room = replace(space, held_bytes=96 * 64 * 64 * 3)
    assert isinstance(training_crops(store, mix, with_room).crops, np.ndarray)


def test_labels_of_other_stages(micro_store: MicroStore, space: Space) -> None:
    store, key = micro_store.store, micro_store.ingest_key
    rows = read(store, "labels", stage_keys=[key]).to_pylist()[:5]
    spec = StageSpec("invented", 1, {})
    own = [row | {"stage_key": spec.key, "label_kind": "pseudo", "betas": [9.0] * 10} for row in rows]
    commit_rows(store, spec, {"labels": build("labels", {name: [row[name] for row in own] for name in own[0]})})
    target = micro.of(key, WILD_TEST)
    held, streamed = (
        pseudo_labelled_crops(store, target, [spec.key]),
        pseudo_training_crops(store, target, [spec.key], space),
    )
    assert (streamed.betas == 9.0).all()
    np.testing.assert_array_equal(streamed.uvd, held.uvd)
    np.testing.assert_array_equal(streamed.crops[np.arange(5)], held.crops[np.arange(5)])
    with pytest.raises(DataError, match="has more than one label in the stages"):
        pseudo_training_crops(store, target, [spec.key, key], space)


def test_what_is_missing_is_told_as_ever(shared_micro_store: MicroStore, space: Space) -> None:
    store, key = shared_micro_store.store, shared_micro_store.ingest_key
    with pytest.raises(DataError, match="24 of 24 instances have no label"):
        training_crops(store, micro.of(key, WILD_TRAIN), space)
    with pytest.raises(DataError, match=r"1 of 2 instances are not in the ingests given; the first: wild/test/x#0\."):
        crops_of(store, [key], pa.array(["wild/test/00000000#0", "wild/test/x#0"]), space)


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.chmod(0o600)
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("part", ["crop", "digest", "name", "footer"])
def test_a_damaged_file_is_made_anew(shared_micro_store: MicroStore, space: Space, part: str) -> None:
    store, keys = shared_micro_store.store, [shared_micro_store.ingest_key]
    ids = instance_ids(store, keys, [WILD_TRAIN])
    expected = load_instances(store, keys, ids).crops
    crops_of(store, keys, pa.array(ids), space)
    (file,) = cached(space)
    data, stored = file.read_bytes(), read(store, "instances", stage_keys=keys)
    row = stored.column("instance_id").to_pylist().index(ids[3])
    digest = pa.ipc.open_file(pa.BufferReader(data)).read_all().column("sha256")[row].as_py()
    sought = {"crop": stored.column("crop")[row].as_py(), "digest": digest.encode(), "name": ids[3].encode()}
    flip(file, data.index(sought[part]) + len(sought[part]) // 2 if part in sought else len(data) - 12)
    crops, _ = crops_of(store, keys, pa.array(ids), space)
    np.testing.assert_array_equal(crops[np.arange(len(ids))], expected)
    assert cached(space)[0].read_bytes() == data


def test_a_crop_that_stays_damaged_is_told(
    shared_micro_store: MicroStore, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, keys = shared_micro_store.store, [shared_micro_store.ingest_key]
    monkeypatch.setattr("tasks.rows.cached_crops._whole", lambda rows, row: None)
    with pytest.raises(DamagedError, match=r"The crop of source/test/00000000#0 in .* is not what was written"):
        crops_of(store, keys, pa.array(["source/test/00000000#0"]), space)


def in_memory_or_not(held: MicroStore, folder: Path, mib: int) -> Context:
    ray = micro.CONFIG.ray.model_copy(update={"held_crops_mib": mib, "cache_folder": str(folder)})
    return replace(held.context, config=micro.CONFIG.model_copy(update={"ray": ray}))


TRAININGS: dict[str, Callable[[MicroStore, str], TrainingStage]] = {
    "base": lambda held, pairs: TrainBase(micro.of(held.ingest_key)),
    "scorer": lambda held, pairs: TrainScorer(micro.of(held.ingest_key, SCORER_TRAIN), held.policy),
    "align": lambda held, pairs: Align(
        micro.of(held.ingest_key), pairs, held.policy, held.policy, micro.of(held.ingest_key, WILD_TRAIN)
    ),
    "clean": lambda held, pairs: TrainClean(micro.of(held.ingest_key), (held.ingest_key,), held.policy),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_trained_on_streams_it_is_the_same_model_under_the_same_key(
    micro_store: MicroStore, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = TRAININGS[name](micro_store, commit_pairs(micro_store.store, micro_store.ingest_key))
    copy = micro_store._replace(store=Store(str(tmp_path / "copy")))
    shutil.copytree(micro_store.store.root, copy.store.root)
    held = stage.run(in_memory_or_not(copy, tmp_path / "unused", 512))
    assert not (tmp_path / "unused").exists()
    monkeypatch.setattr(node_cache, "_IN_MEMORY", 0)
    monkeypatch.setattr(pool, "_PART", 50)
    streamed = stage.run(in_memory_or_not(micro_store, tmp_path / "cache", 0))
    assert list((tmp_path / "cache").glob("*.arrow"))
    assert streamed.key == held.key
    assert not streamed.reused
    assert model_of(micro_store.store, streamed.key) == model_of(copy.store, held.key)
