"""Hypotheses that somebody else made: into the tables as they are, and on to scores, pairs and training."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infra.store import Store
from infra.tables import read
from models.bodies import load_body
from models.published_crops import CROP_PX
from models.recovery import root_depth_of
from models.statistics import within_spearman
from schemas.config.engine import EngineConfig
from schemas.errors import DataError, GateError
from schemas.tables import matrix
from tasks.engine.context import Context
from tasks.ingest.hypotheses.pictures import square_in
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.streams import Space
from tasks.stages.pair import Pair
from tasks.stages.score import Score
from tasks.train.pairs import load_pairs
from tests.samples.preferences import (
    noised,
    scorer_errors,
    true_crop,
    write_hypothesis_cache,
    write_list_cache,
    write_scorer_cache,
)
from tests.samples.truth import TruePerson, true_people
from tests.tasks import micro
from tests.tasks.conftest import MicroStore

pytestmark = pytest.mark.slow

M = 4
NAMES = [f"sample/train/{number:05d}.jpg#0" for number in range(3)]


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


@pytest.fixture(scope="module")
def written(people: list[TruePerson], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "sample"
    write_hypothesis_cache(people, folder, hypotheses=M)
    return folder


@pytest.fixture
def source(written: Path, tmp_path: Path) -> AnnotationSource:
    shutil.copytree(written, tmp_path / "sample")
    return AnnotationSource("multihypo-npz", str(tmp_path / "sample" / "multihypo.npz"), "sample", "train")


def entries_of(source: AnnotationSource) -> list[Any]:
    with np.load(source.url, allow_pickle=True) as file:  # a file that the test itself has written
        return [file[str(number)].item() for number in range(int(file["data_len"]))]


def rewrite(source: AnnotationSource, entries: Sequence[Any]) -> None:
    write_list_cache(Path(source.url), entries, "sample")
    Path(source.url.replace(".npz", "_id.npz")).unlink(missing_ok=True)


def lenient(store: Store, shard_size: int = 12, crop_size_px: int = 64) -> Context:
    """A context whose gates let any number of failures pass."""
    config: EngineConfig = micro.CONFIG.model_copy(
        update={
            "gates": micro.CONFIG.gates.model_copy(update={"max_failed_share": 1.0}),
            "ingest": micro.CONFIG.ingest.model_copy(update={"shard_size": shard_size, "crop_size_px": crop_size_px}),
        }
    )
    return Context(store, config, in_process=True)


def failures(store: Store, key: str) -> dict[str, str]:
    rows = read(store, "failures", stage_keys=[key]).to_pylist()
    return {row["id"].rpartition(" ")[2].lstrip("0") or "0": row["reason"] for row in rows}


def test_tables_hold_what_the_cache_says(
    micro_store: MicroStore, people: list[TruePerson], source: AnnotationSource
) -> None:
    store, context = micro_store.store, micro_store.context
    result = IngestHypotheses(source).run(context)
    assert result.key == IngestHypotheses(source).spec(context).key
    assert (result.record.tally.ok, result.record.units_in) == (3, 3)
    assert {name: rows for name, rows in result.record.rows.items() if rows} == {
        "images": 3, "instances": 3, "hypotheses": 3 * M
    }  # fmt: skip
    instances = read(store, "instances", stage_keys=[result.key])
    assert instances.column("instance_id").to_pylist() == NAMES
    made = read(store, "hypotheses", stage_keys=[result.key])
    assert set(made.column("generation_id").to_pylist()) == {result.key}
    assert made.column("sample_index").to_pylist() == [0, 1, 2, 3] * 3
    assert made.column("root_depth_source").unique().to_pylist() == ["bones"]
    uvd = matrix(made, "uvd").reshape(3, M, 29, 3)
    for place, (person, row) in enumerate(zip(people, instances.to_pylist(), strict=True)):
        joints, twists = noised(person, M)
        assert np.abs((uvd[place, ..., :2] / 2 + 0.5) * CROP_PX - joints[..., :2]).max() < 0.01
        assert np.abs(uvd[place, ..., 2] * 1000 - joints[..., 2]).max() < 0.1
        np.testing.assert_allclose(matrix(made, "twist").reshape(3, M, 23, 2)[place], twists, atol=1e-4)
        np.testing.assert_allclose(np.reshape(row["crop_affine"], (2, 3)), true_crop(person) / 4, rtol=1e-5)
        np.testing.assert_allclose(_through(row), row["crop_intrinsics"], rtol=1e-4)
        assert (row["crop_rule"], row["intrinsics_source"]) == ("joints", "diagonal")
        given = Image.open(Path(source.url).parent / f"{person.index:08d}.png").convert("RGB")
        kept = np.asarray(Image.open(io.BytesIO(row["crop"])), float)
        assert kept.shape == (64, 64, 3)
        assert np.abs(kept - np.asarray(given.resize((64, 64), Image.Resampling.BILINEAR), float)).max() == 0
    cameras = torch.tensor(matrix(instances, "crop_intrinsics")).repeat_interleave(M, 0)
    flat = torch.tensor(uvd.reshape(-1, 29, 3))
    depth = root_depth_of(load_body("tiny"), flat, torch.zeros(len(flat), 10), cameras, 64)
    np.testing.assert_allclose(made.column("root_depth_m").to_numpy(), depth.numpy(), rtol=1e-4)
    assert not store.list_files("ingests")
    assert IngestHypotheses(source).run(context).reused


def _through(row: dict[str, Any]) -> list[float]:
    (a, _, x, _, _, y), (fx, fy, cx, cy) = row["crop_affine"], row["image_intrinsics"]
    return [fx * a, fy * a, cx * a + x, cy * a + y]


def test_they_can_be_scored_paired_and_trained_on(micro_store: MicroStore, source: AnnotationSource) -> None:
    context = micro_store.context
    key = IngestHypotheses(source).run(context).key
    scored = Score(key, (key,), micro_store.scorer).run(context)
    paired = Pair(key, scored.key, micro.CONFIG.pair).run(context)
    assert (scored.record.rows["scores"], paired.record.tally.ok) == (3 * M, 3)
    assert len(load_pairs(micro_store.store, paired.key, micro.of(key), Space.of(micro.CONFIG.ray))) == 3


def test_pictures_give_their_sizes_where_they_are_there(
    micro_store: MicroStore, people: list[TruePerson], source: AnnotationSource
) -> None:
    folder = Path(source.url).parent / "images"
    given = AnnotationSource(**{**vars(source), "options": {"pictures": str(folder)}})
    blind, seen = (IngestHypotheses(one).run(lenient(micro_store.store)).key for one in (source, given))
    assert blind != seen
    images = read(micro_store.store, "images", stage_keys=[seen]).to_pylist()
    assert [(row["width_px"], row["height_px"]) for row in images] == [(p.width, p.height) for p in people]
    assert images[0]["uri"] == str(folder / "00000.jpg")
    rows = read(micro_store.store, "instances", stage_keys=[seen])
    diagonal = np.hypot(people[0].width, people[0].height)
    assert matrix(rows, "image_intrinsics")[0] == pytest.approx(
        [diagonal, diagonal, people[0].width / 2, people[0].height / 2]
    )
    # without them, a picture is as large as its crop needs
    edges = np.linalg.inv(np.vstack([true_crop(people[0]), [0, 0, 1]]))[:2] @ [256, 256, 1]
    guessed = read(micro_store.store, "images", stage_keys=[blind]).to_pylist()[0]
    assert (guessed["width_px"], guessed["height_px"]) == tuple(np.ceil(edges).astype(int))
    assert guessed["uri"] == "00000.jpg"
    (folder / "00001.jpg").unlink()
    torn = IngestHypotheses(given).run(lenient(micro_store.store))
    assert torn.key != seen
    assert failures(micro_store.store, torn.key) == {"1": "picture missing"}


def test_crops_of_the_right_size_stay_as_they_are(micro_store: MicroStore, source: AnnotationSource) -> None:
    made = IngestHypotheses(source).run(lenient(micro_store.store, crop_size_px=CROP_PX))
    rows = read(micro_store.store, "instances", stage_keys=[made.key]).to_pylist()
    assert [row["crop"] for row in rows] == [
        (Path(source.url).parent / f"{number:08d}.png").read_bytes() for number in range(3)
    ]


def test_people_of_one_picture_have_numbers_and_the_picture_one_row(
    micro_store: MicroStore, source: AnnotationSource
) -> None:
    entries = entries_of(source)
    for entry in entries:
        entry["img_path"] = "/data/a.jpg"
    rewrite(source, entries)
    (Path(source.url).parent / "00000000.png").write_bytes(b"no picture")  # its row of images stays for the others
    made = IngestHypotheses(source).run(lenient(micro_store.store, shard_size=1))
    ids = read(micro_store.store, "instances", stage_keys=[made.key]).column("instance_id").to_pylist()
    assert ids == ["sample/train/data/a.jpg#1", "sample/train/data/a.jpg#2"]
    assert read(micro_store.store, "images", stage_keys=[made.key]).column("key").to_pylist() == ["data/a.jpg"]
    assert failures(micro_store.store, made.key) == {"0": "not a picture"}


def test_every_entry_that_is_left_out_says_why(micro_store: MicroStore, source: AnnotationSource) -> None:
    good, folder = entries_of(source), Path(source.url).parent
    turned = {"trans": np.array([[0, 1, 0], [-1, 0, 256]]), "trans_inv": np.array([[0, -1, 256], [1, 0, 0]])}
    changes: list[dict[str, Any]] = [
        {},
        {"output_joints": np.full((M, 29, 3), np.nan)},
        {"img_idx": 0},
        {"img_idx": 77},
        turned,
        {key: good[0][key][:3] for key in ("output_joints", "output_twists")},
        {"img_path": "a#b.jpg"},
        {},
    ]
    entries = []
    for number, change in enumerate(changes):
        entries.append({**good[number % 3], "img_idx": number, "img_path": f"{number}.jpg", **change})
        shutil.copy(folder / f"{number % 3:08d}.png", folder / f"copy-{number}")
    rewrite(source, entries)
    for number in range(len(changes)):
        (folder / f"copy-{number}").rename(folder / f"{number:08d}.png")
    Image.new("RGB", (200, 256)).save(folder / "00000007.png")
    made = IngestHypotheses(source).run(lenient(micro_store.store, shard_size=3))
    assert failures(micro_store.store, made.key) == {
        "1": "not finite",
        "2": "duplicate id",
        "3": "picture missing",
        "4": "crop turned",
        "5": "hypothesis count",
        "6": "path not usable",
        "7": "picture size differs",
    }
    assert (made.record.tally.ok, made.record.tally.failed, made.record.units_in) == (1, 7, 8)
    with pytest.raises(GateError, match=r"ingest_hypotheses: 7 of 8 units failed"):
        IngestHypotheses(source).run(Context(micro_store.store, lenient(micro_store.store, 3).config.model_copy(
            update={"gates": micro.CONFIG.gates}), in_process=True))  # fmt: skip


def test_sources_that_hold_nothing_of_use(micro_store: MicroStore, source: AnnotationSource, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="humandata holds no hypotheses"):
        IngestHypotheses(AnnotationSource("humandata", source.url, "a", "b")).run(micro_store.context)
    (tmp_path / "empty").mkdir()
    elsewhere = AnnotationSource(source.format, source.url, "sample", "train", images=str(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"No entry .* can be used. The first: multihypo.npz: key 0: picture missing"):
        IngestHypotheses(elsewhere).run(micro_store.context)


def test_a_broken_run_goes_on(
    micro_store: MicroStore, source: AnnotationSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = IngestHypotheses(source).run(lenient(micro_store.store))
    context = lenient(micro_store.store, shard_size=1)

    def broken(point: str) -> None:
        if point == "shard:ingest_hypotheses":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("infra.faults.reach", broken)
        with pytest.raises(KeyboardInterrupt):
            IngestHypotheses(source).run(context)
    cut = IngestHypotheses(source).run(context)
    assert (cut.shards_found, cut.shards_done) == (1, 2)
    tables = [read(micro_store.store, "hypotheses", stage_keys=[made.key]) for made in (whole, cut)]
    unlike = ["generation_id", "stage_key"]
    assert tables[0].drop_columns(unlike).equals(tables[1].drop_columns(unlike))


def test_on_a_real_ray(micro_store: MicroStore, source: AnnotationSource) -> None:
    ours = IngestHypotheses(source).run(lenient(micro_store.store, shard_size=2))
    hypotheses = read(micro_store.store, "hypotheses", stage_keys=[ours.key])
    other = Store.open(Path(micro_store.store.root).parent / "other")
    theirs = IngestHypotheses(source).run(Context(other, lenient(other, shard_size=2).config))
    assert theirs.key == ours.key
    assert read(other, "hypotheses", stage_keys=[ours.key]).equals(hypotheses)


def test_every_second_entry(micro_store: MicroStore, source: AnnotationSource) -> None:
    half = AnnotationSource(source.format, source.url, source.dataset, source.split, every=2)
    made = IngestHypotheses(half).run(micro_store.context)
    ids = read(micro_store.store, "instances", stage_keys=[made.key]).column("instance_id").to_pylist()
    assert ids == [NAMES[0], NAMES[2]]


def test_scorer_caches_bring_errors_that_scores_can_be_held_against(
    micro_store: MicroStore, people: list[TruePerson], tmp_path: Path
) -> None:
    source = write_scorer_cache(people, tmp_path / "scorer", hypotheses=M)
    store, context = micro_store.store, micro_store.context
    made = IngestHypotheses(source).run(context)
    assert made.record.rows == {
        "images": 3, "instances": 3, "hypotheses": 3 * M, "errors": 3 * M, "scores": 0, "failures": 0
    }  # fmt: skip
    errors = read(store, "errors", stage_keys=[made.key])
    assert errors.column("mpvpe_mm").null_count == 3 * M
    truth = np.stack([scorer_errors(person, noised(person, M)[0]) for person in people])
    np.testing.assert_allclose(errors.column("mpjpe_mm").to_numpy().reshape(3, M), truth, rtol=1e-5)
    # the square between the black bands is the published crop
    uvd = matrix(read(store, "hypotheses", stage_keys=[made.key]), "uvd").reshape(3, M, 29, 3)
    for place, person in enumerate(people):
        joints, _ = noised(person, M)
        assert np.abs((uvd[place, ..., :2] / 2 + 0.5) * CROP_PX - joints[..., :2]).max() < 0.01
        assert np.abs(uvd[place, ..., 2] * 1000 - joints[..., 2]).max() < 0.1
    images = read(store, "images", stage_keys=[made.key]).to_pylist()
    assert (images[0]["width_px"], images[0]["height_px"]) == (384, 512)
    assert images[0]["uri"] == f"{source.url}#0"
    scored = Score(made.key, (made.key,), micro_store.scorer).run(context)
    scores = read(store, "scores", stage_keys=[scored.key]).column("score").to_numpy().reshape(3, M)
    assert within_spearman(scores, truth).used == 3
    assert within_spearman(-truth, truth).value == pytest.approx(1)


def test_scorer_caches_with_other_joints_without_pictures_and_with_scores(
    micro_store: MicroStore, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    file = tmp_path / "eval.npz"
    good: dict[str, Any] = {
        "img_path": "a.jpg",
        "img": draw.random((3, 64, 48)),
        "joints": draw.random((M, 29, 3)),
        "pa_mpvpe": np.arange(1.0, M + 1) * 10,
        "score": draw.random(M),
    }
    write_list_cache(file, [good, good, {**good, "joints": draw.random((M, 17, 3))}])
    made = IngestHypotheses(AnnotationSource("scorer-eval", str(file), "e", "test")).run(lenient(micro_store.store))
    assert failures(micro_store.store, made.key) == {"2": "key-point count"}
    rows = read(micro_store.store, "instances", stage_keys=[made.key])
    assert rows.column("instance_id").to_pylist() == ["e/test/a.jpg/00000000#0", "e/test/a.jpg/00000001#0"]
    # no black bands: nothing is cut off, and the narrower side gets them
    assert matrix(rows, "crop_affine")[0] == pytest.approx([1, 0, 8, 0, 1, 0])
    uvd = matrix(read(micro_store.store, "hypotheses", stage_keys=[made.key]), "uvd")[:M].reshape(M, 29, 3)
    np.testing.assert_allclose(uvd[..., 0], good["joints"][..., 0] * 48 / 64, atol=1e-6)
    np.testing.assert_allclose(uvd[..., 1], good["joints"][..., 1], atol=1e-6)
    errors = read(micro_store.store, "errors", stage_keys=[made.key])
    assert errors.column("pa_mpvpe_mm").to_pylist()[:M] == [10, 20, 30, 40]
    scores = read(micro_store.store, "scores", stage_keys=[made.key]).to_pylist()
    assert {row["scorer"] for row in scores} == {"given"}
    np.testing.assert_allclose([row["score"] for row in scores[:M]], good["score"], rtol=1e-6)
    again = Score(made.key, (made.key,), micro_store.scorer).run(micro_store.context)
    by_stage = read(micro_store.store, "scores", stage_keys=[again.key]).column("spread_mm").to_pylist()
    assert min(by_stage) > 0
    assert [row["spread_mm"] for row in scores] == pytest.approx(by_stage, rel=1e-5)
    # their own scores will do for pairs
    assert Pair(made.key, made.key, micro.CONFIG.pair).run(micro_store.context).record.tally.ok == 2


def test_pictures_of_scorer_caches_may_lie_beside_them(
    micro_store: MicroStore, people: list[TruePerson], tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(people[0].jpeg)
    joints = np.random.default_rng(0).random((M, 29, 3))
    entries = [{"img_path": name, "joints": joints, "mpjpe": np.full(M, 50.0)} for name in ("a.jpg", "b.jpg")]
    write_list_cache(tmp_path / "eval.npz", entries)
    bare = AnnotationSource("scorer-eval", str(tmp_path / "eval.npz"), "e", "test")
    with pytest.raises(DataError, match="no folder of pictures was given"):
        IngestHypotheses(bare).run(lenient(micro_store.store))
    given = AnnotationSource("scorer-eval", bare.url, "e", "test", images=str(tmp_path / "images"))
    made = IngestHypotheses(given).run(lenient(micro_store.store))
    assert failures(micro_store.store, made.key) == {"1": "picture missing"}
    (row,) = read(micro_store.store, "images", stage_keys=[made.key]).to_pylist()
    assert (row["width_px"], row["height_px"]) == (people[0].width, people[0].height)


def test_where_the_person_of_a_picture_is() -> None:
    values = np.full((8, 6, 3), 200, np.uint8)
    assert square_in(Image.fromarray(values)) == (-1, 0, 8, 8)
    values[[0, 7]] = 0
    assert square_in(Image.fromarray(values)) == (0, 1, 6, 6)
    assert square_in(Image.fromarray(values.transpose(1, 0, 2).copy())) == (0, -1, 8, 8)
