"""Existing preference data into `pairs`: every pair finds its person, in that person's own crop, or says why not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from infra.store import Store
from infra.tables import read
from models.published_crops import joints_through
from schemas.config.stages import PairConfig
from schemas.errors import DataError, GateError
from schemas.ids import Target
from schemas.splits import SOURCE_TRAIN, WILD_TRAIN
from schemas.tables import matrix
from schemas.tables.contracts import LABEL_AS_SAMPLE
from tasks.engine.context import Context
from tasks.export.dpo_json import export_dpo_json
from tasks.ingest.hypotheses.people import AMBIGUOUS_PERSON, AMBIGUOUS_PICTURE, PeopleOfCrops
from tasks.ingest.pairs.stage import STRATEGY, IngestPairs
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.source.folder import RefusedError
from tasks.rows.instances import load_instances
from tasks.rows.streams import Space
from tasks.stages.generate import Generate
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.train.pairs import load_pairs
from tests.samples.preferences import noised, true_crop, write_pair_json
from tests.samples.truth import TruePerson, true_people
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow

LOSERS = 2
TARGET = SOURCE_TRAIN


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    """The first of those whom the micro store has as source/train."""
    return true_people(4)


@pytest.fixture
def source(people: list[TruePerson], tmp_path: Path) -> AnnotationSource:
    """A pair file that gives the pictures' keys as paths: three times below another folder, once as they are."""
    made = write_pair_json(people, tmp_path / "sample", losers=LOSERS)

    def rename(entries: list[Any]) -> None:
        for entry in entries:
            entry["img_path"] = f"{'' if entry['img_idx'] == 3 else 'data/set/'}{entry['img_idx']:08d}"

    change(made, rename)
    return made


def change(source: AnnotationSource, how: Callable[[list[Any]], None]) -> None:
    entries = json.loads(Path(source.url).read_text())
    how(entries)
    Path(source.url).write_text(json.dumps(entries))


def failures(store: Store, key: str) -> list[tuple[str, str, str]]:
    rows = read(store, "failures", stage_keys=[key]).to_pylist()
    return [(row["id"], row["outcome"], row["reason"]) for row in sorted(rows, key=lambda row: row["id"])]


def test_pairs_land_in_the_crops_of_their_people(
    micro_store: MicroStore, people: list[TruePerson], source: AnnotationSource
) -> None:
    store, key, context = micro_store.store, micro_store.ingest_key, micro_store.context
    result = IngestPairs(source, (key,), TARGET).run(context)
    assert result.key == IngestPairs(source, (key,), TARGET).spec(context).key
    assert (result.record.tally.ok, result.record.units_in, result.record.rows["pairs"]) == (8, 8, 8)
    rows = read(store, "pairs", stage_keys=[result.key])
    assert rows.column("instance_id").to_pylist() == [
        f"source/train/{person.index:08d}#0" for person in people for _ in range(LOSERS)
    ]
    own = load_instances(store, [key], sorted(set(rows.column("instance_id").to_pylist())))
    instances = read(store, "instances", stage_keys=[key]).to_pylist()
    affine = {row["instance_id"]: np.reshape(row["crop_affine"], (2, 3)) for row in instances}
    for place, row in enumerate(rows.to_pylist()):
        person, nth = people[place // LOSERS], place % LOSERS
        assert (row["winner"], row["loser"]) == (LABEL_AS_SAMPLE, nth + 1)
        assert (row["strategy"], row["dataset"], row["round"]) == (STRATEGY, "source", 0)
        assert row["pair_set"] == row["generation_id"] == result.key
        assert {row[name] for name in ("winner_score", "loser_score", "loser_rank", "margin")} == {None}
        # the winner is the label, which the ingest has put into the same crop on its own way
        label = own.ids.index(row["instance_id"])
        uvd = np.reshape(row["winner_uvd"], (29, 3))
        assert np.abs(uvd[:, :2] - own.uvd[label, :, :2]).max() / 2 * 64 < 0.01
        assert np.abs(uvd[:, 2] - own.uvd[label, :, 2]).max() < 1e-4
        assert row["winner_betas"] == row["loser_betas"] == own.betas[label].tolist()
        # the loser by hand: back to the picture, and into the instance's crop
        joints, twists = noised(person, LOSERS)
        there = np.linalg.inv(np.vstack([true_crop(person), [0, 0, 1]]))[:2]
        pixels = joints_through(joints_through(torch.from_numpy(joints[nth]), torch.from_numpy(there)),
                                torch.from_numpy(affine[row["instance_id"]].astype(np.float64))).numpy()  # fmt: skip
        seen = np.reshape(row["loser_uvd"], (29, 3))
        assert np.abs((seen[:, :2] / 2 + 0.5) * 64 - pixels[:, :2]).max() < 0.01
        assert np.abs(seen[:, 2] * 1000 - joints[nth][:, 2]).max() < 0.1
        np.testing.assert_allclose(np.reshape(row["loser_twist"], (23, 2)), twists[nth], atol=1e-4)
    assert not store.list_files("ingests")
    assert IngestPairs(source, (key,), TARGET).run(context).reused


def test_alignment_takes_them(micro_store: MicroStore, source: AnnotationSource) -> None:
    key = micro_store.ingest_key
    made = IngestPairs(source, (key,), TARGET).run(micro_store.context)
    pairs = load_pairs(micro_store.store, made.key, micro.of(key), Space.of(micro.CONFIG.ray))
    rows = read(micro_store.store, "pairs", stage_keys=[made.key])
    assert (len(pairs), pairs.crops.shape) == (8, (4, 64, 64, 3))
    assert pairs.crop_row.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    np.testing.assert_array_equal(pairs.loser[:, :87], matrix(rows, "loser_uvd"))


def test_pairs_that_were_exported_come_back(micro_store: MicroStore, tmp_path: Path) -> None:
    store, key, context = micro_store.store, micro_store.ingest_key, micro_store.context
    made = Generate((key,), (WILD_TRAIN,), micro_store.policy, micro.CONFIG.generate).run(context).key
    paired = Pair(made, Score(made, (key,), micro_store.scorer).run(context).key, PairConfig(pairs_per_instance=2)).run(
        context
    )
    ours = read(store, "pairs", stage_keys=[paired.key])
    export_dpo_json(ours, read(store, "instances", stage_keys=[key]), str(tmp_path / "pairs.json"))
    source = AnnotationSource("dpo-json", str(tmp_path / "pairs.json"), "wild", "train")
    back = read(store, "pairs", stage_keys=[IngestPairs(source, (key,), WILD_TRAIN).run(context).key])
    assert back.column("instance_id").equals(ours.column("instance_id"))
    for name in ("winner_uvd", "winner_twist", "loser_uvd", "loser_twist"):
        np.testing.assert_allclose(matrix(back, name), matrix(ours, name), atol=1e-5)


def test_winners_that_are_no_labels_have_numbers_and_people_without_labels_the_mean_shape(
    micro_store: MicroStore, source: AnnotationSource, tmp_path: Path
) -> None:
    target = WILD_TRAIN
    wild = write_pair_json(true_people(2, "wild", "train"), tmp_path / "wild", losers=3)

    def chain(entries: list[Any]) -> None:
        for entry in entries:
            entry["img_path"] = f"{entry['img_idx']:08d}"
        for worse in (1, 2):  # the first person: each loser wins the next pair
            for what in ("joints", "twist"):
                entries[worse][f"w_{what}"] = entries[worse - 1][f"l_{what}"]

    change(wild, chain)
    made = IngestPairs(wild, (micro_store.ingest_key,), target).run(micro_store.context)
    rows = read(micro_store.store, "pairs", stage_keys=[made.key])
    numbers = list(zip(rows.column("winner").to_pylist(), rows.column("loser").to_pylist(), strict=True))
    assert numbers == [(0, 1), (1, 2), (2, 3), (0, 1), (0, 2), (0, 3)]
    assert not matrix(rows, "winner_betas").any()


def test_every_pair_that_is_left_out_says_why(
    micro_store: MicroStore, people: list[TruePerson], source: AnnotationSource
) -> None:
    def spoil(entries: list[Any]) -> None:
        entries[0]["w_joints"][3][1] = None
        entries[1]["img_path"] = "data/set/elsewhere.jpg"
        away = np.array(entries[2]["trans"])
        away[:, 2] += 200
        entries[2]["trans"] = away.tolist()
        del entries[2]["trans_inv"]
        entries[2]["trans_inv"] = np.linalg.inv(np.vstack([away, [0, 0, 1]]))[:2].tolist()
        larger = np.array(entries[3]["trans"]) * 5
        entries[3]["trans"] = larger.tolist()
        entries[3]["trans_inv"] = np.linalg.inv(np.vstack([larger, [0, 0, 1]]))[:2].tolist()
        entries[5] = entries[4]
        entries.append("no pair")

    change(source, spoil)
    config = micro.CONFIG.model_copy(update={"gates": micro.CONFIG.gates.model_copy(update={"max_failed_share": 0.5})})
    context = Context(micro_store.store, config, in_process=True)
    made = IngestPairs(source, (micro_store.ingest_key,), TARGET).run(context)
    name = "source/train/pairs.json row 00000000"
    assert failures(micro_store.store, made.key) == [
        (f"{name}0", "failed", "not finite"),
        (f"{name}1", "filtered", "picture not ingested"),
        (f"{name}2", "filtered", "no such instance"),
        (f"{name}3", "filtered", "no such instance"),
        (f"{name}5", "failed", "duplicate id"),
        (f"{name}8", "failed", "row not readable"),
    ]
    tally = made.record.tally
    assert (tally.ok, tally.filtered, tally.failed, made.record.units_in) == (3, 3, 3, 9)
    details = {row["id"][-1]: row["detail"] for row in read(micro_store.store, "failures").to_pylist()}
    assert details["0"].startswith("data/set/00000000: w_joints")
    assert "row 4, which stands" in details["5"]


def test_too_many_bad_pairs_stop_the_run(micro_store: MicroStore, source: AnnotationSource) -> None:
    def spoil(entries: list[Any]) -> None:
        for entry in entries[1:]:
            entry["w_twist"] = None

    change(source, spoil)
    with pytest.raises(GateError, match=r"ingest_pairs: 7 of 8 units failed.*7 x keys missing"):
        IngestPairs(source, (micro_store.ingest_key,), TARGET).run(micro_store.context)


def test_pairs_of_other_pictures_are_one_message(micro_store: MicroStore, source: AnnotationSource) -> None:
    def rename(entries: list[Any]) -> None:
        for entry in entries:
            entry["img_path"] = "a.jpg"

    change(source, rename)
    with pytest.raises(DataError, match=r"None of the pairs of .*pairs.json belongs to a person of source/train"):
        IngestPairs(source, (micro_store.ingest_key,), TARGET).run(micro_store.context)
    with pytest.raises(DataError, match=r"no instance of source/nowhere"):
        IngestPairs(source, (micro_store.ingest_key,), TARGET._replace(split="nowhere")).run(micro_store.context)


def test_every_second_pair(micro_store: MicroStore, source: AnnotationSource) -> None:
    half = AnnotationSource(source.format, source.url, source.dataset, source.split, every=2)
    made = IngestPairs(half, (micro_store.ingest_key,), TARGET).run(micro_store.context)
    assert made.record.units_in == 4
    assert read(micro_store.store, "pairs", stage_keys=[made.key]).column("loser").to_pylist() == [1] * 4


def test_shards_do_not_matter_and_a_broken_run_goes_on(
    micro_store: MicroStore, source: AnnotationSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = IngestPairs(source, (micro_store.ingest_key,), TARGET).run(micro_store.context)
    config = micro.CONFIG.model_copy(update={"ingest": micro.CONFIG.ingest.model_copy(update={"shard_size": 3})})
    context = Context(micro_store.store, config, in_process=True)

    def broken(point: str) -> None:
        if point == "shard:ingest_pairs":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("infra.faults.reach", broken)
        with pytest.raises(KeyboardInterrupt):
            IngestPairs(source, (micro_store.ingest_key,), TARGET).run(context)
    cut = IngestPairs(source, (micro_store.ingest_key,), TARGET).run(context)
    assert (cut.shards_found, cut.shards_done) == (1, 2)
    tables = [read(micro_store.store, "pairs", stage_keys=[made.key]) for made in (whole, cut)]
    unlike = ["pair_set", "generation_id", "stage_key"]
    assert tables[0].drop_columns(unlike).equals(tables[1].drop_columns(unlike))


def test_people_of_one_picture_are_told_apart_by_their_crops() -> None:
    def person(x: float, y: float, side: float) -> np.ndarray:
        return np.array([[256 / side, 0, 128 - 256 / side * x], [0, 256 / side, 128 - 256 / side * y]])

    two, alike = {0: (100, 100, 50), 1: (125, 100, 50)}, {0: (10, 10, 20), 1: (10, 10, 20)}
    crops = {f"{picture}#{number}": place for picture, people in (("a/1.jpg", two), ("b/1.jpg", alike))
             for number, place in people.items()}  # fmt: skip
    rows = pa.table({
        "instance_id": [f"d/s/{name}" for name in crops],
        "image_id": [f"d/s/{name[:-2]}" for name in crops],
        "crop_affine": [person(*place).ravel().tolist() for place in crops.values()],
        "crop_size_px": [256] * 4,
        "crop_intrinsics": [[1.0, 1.0, 0.0, 0.0]] * 4,
    })  # fmt: skip
    found = PeopleOfCrops(rows, Target("d", "s"))
    assert found.find("a/1.jpg", person(104, 98, 60)).instance_id == "d/s/a/1.jpg#0"
    assert found.find("./x/a/1.jpg", person(118, 98, 40)).instance_id == "d/s/a/1.jpg#1"
    for path, place, reason in (
        ("a/1.jpg", (300, 100, 50), "no such instance"),
        ("a/1.jpg", (100, 100, 500), "no such instance"),
        ("b/1.jpg", (10, 10, 20), AMBIGUOUS_PERSON),
        ("1.jpg", (100, 100, 50), AMBIGUOUS_PICTURE),
        ("c/1.jpg", (100, 100, 50), "picture not ingested"),
    ):
        with pytest.raises(RefusedError, match=reason):
            found.find(path, person(*place))
