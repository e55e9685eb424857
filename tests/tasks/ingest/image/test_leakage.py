"""Pictures of one split that come again in another: refused, whatever format brings them, unless told otherwise."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.store import Store
from infra.tables import read
from schemas.splits import SYNTHETIC
from tasks.engine.context import Context
from tasks.engine.results import StageResult
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.hypotheses.crops import PICTURES
from tasks.ingest.hypotheses.stage import IngestHypotheses
from tasks.ingest.image.leakage import LEAKED, pictures_elsewhere
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.stage import Ingest
from tasks.stages.synthesize import Synthesize, synthetic_sources
from tests.samples.coco import write_coco
from tests.samples.preferences import write_hypothesis_cache, write_scorer_cache
from tests.samples.truth import true_people
from tests.tasks.ingest.pictures import context, folder, jpeg, pictures, source
from tests.tasks.ingest.test_annotated import CONFIG

pytestmark = pytest.mark.slow


def split(root: Path, name: str, files: dict[str, bytes]) -> AnnotationSource:
    folder(root / name, files)
    return source(root / name, boxes=None, split=name)


def copy(data: bytes) -> bytes:
    """The same picture, smaller and stored anew."""
    with Image.open(io.BytesIO(data)) as opened:
        return jpeg(opened.resize((opened.width * 3 // 4, opened.height * 3 // 4)))


def scene(seed: int) -> bytes:
    """A picture of soft shapes, as photographs are."""
    values = np.random.default_rng(seed).integers(0, 255, (32, 24, 3), dtype=np.uint8)
    return jpeg(Image.fromarray(values).resize((180, 240), Image.Resampling.BICUBIC))


def refused(ctx: Context, result: StageResult) -> dict[str, str]:
    rows = read(ctx.store, "failures", stage_keys=[result.key]).to_pylist()
    return {row["id"]: row["reason"] for row in rows}


def test_a_folder_may_not_have_pictures_of_another_split(tmp_path: Path) -> None:
    ctx = context(tmp_path / "store")
    IngestAnnotations(split(tmp_path, "test", {f"{seed}.jpg": scene(seed) for seed in range(4)})).run(ctx)
    train = split(tmp_path, "train", {"a.jpg": copy(scene(2)), "b.jpg": scene(7)})
    result = IngestAnnotations(train).run(ctx)
    assert refused(ctx, result) == {"mine/train/a.jpg#0": LEAKED}
    (failure,) = read(ctx.store, "failures", stage_keys=[result.key]).to_pylist()
    assert "mine/test/2.jpg" in failure["detail"]
    assert "--allow-leakage" in failure["detail"]
    assert read(ctx.store, "images", stage_keys=[result.key]).column("key").to_pylist() == ["b.jpg"]
    assert IngestAnnotations(train).run(ctx).reused
    told = IngestAnnotations(train, allow_leakage=True).run(ctx)
    assert told.key == IngestAnnotations(train, allow_leakage=True).spec(ctx).key
    assert told.record.tally.ok == 2
    # held-out splits may share pictures, and so may other data sets
    validation = split(tmp_path, "validation", {"x.jpg": scene(0)})
    assert IngestAnnotations(validation).run(ctx).record.tally.ok == 1
    other = pictures(train.url, dataset="other")
    assert IngestAnnotations(other).run(ctx).record.tally.ok == 2


def test_a_folders_leak_that_was_mended_is_none(tmp_path: Path) -> None:
    ctx = context(tmp_path / "store")
    test = split(tmp_path, "test", {"a.jpg": scene(1), "b.jpg": scene(2)})
    train = split(tmp_path, "train", {"c.jpg": copy(scene(1)), "d.jpg": scene(3)})
    IngestAnnotations(test).run(ctx)
    assert refused(ctx, IngestAnnotations(train).run(ctx)) == {"mine/train/c.jpg#0": LEAKED}
    (tmp_path / "test" / "images" / "a.jpg").unlink()
    IngestAnnotations(test).run(ctx)
    assert refused(ctx, IngestAnnotations(train).run(ctx)) == {}


def test_folders_and_annotations_are_compared_with_each_other(tmp_path: Path) -> None:
    people = true_people(3)
    ctx = Context(Store.open(tmp_path / "store"), CONFIG, in_process=True)
    annotated = write_coco(people, tmp_path / "coco", "train")
    IngestAnnotations(annotated).run(ctx)
    folder(tmp_path / "mine", {"a.jpg": people[1].jpeg, "b.jpg": scene(0)})
    held_out = pictures(tmp_path / "mine" / "images", dataset=annotated.dataset, split="test")
    assert list(refused(ctx, IngestAnnotations(held_out).run(ctx)).values()) == [LEAKED]
    assert pictures_elsewhere(ctx.store, annotated.dataset, "train") is not None
    assert pictures_elsewhere(ctx.store, "nobody", "train") is None


def test_splits_that_a_stage_made_are_not_compared(tmp_path: Path) -> None:
    ctx = context(tmp_path / "store")
    made = Synthesize().run(ctx)
    sources = synthetic_sources(ctx, made.key)
    result = Ingest(sources, (made.key,)).run(ctx)
    assert refused(ctx, result) == {}
    assert set(result.record.config) == {"ingest", "sources", "body"}, "their key says nothing of other splits"
    assert read(ctx.store, "images").column("perceptual_hash").null_count == made.record.tally.ok


def test_no_two_splits_of_the_synthetic_domains_have_a_picture_in_common(tmp_path: Path) -> None:
    """So that a user who ingests them as folders is not refused."""
    ctx = context(tmp_path / "store", synthesize__wild_train=12, synthesize__source_train=12)
    made = Synthesize().run(ctx)
    given = dict(zip(SYNTHETIC, synthetic_sources(ctx, made.key), strict=True))
    for place in sorted(given.values(), key=str):
        assert refused(ctx, IngestAnnotations(place).run(ctx)) == {}


@pytest.mark.parametrize("there", [True, False])
def test_a_cache_of_hypotheses_with_its_pictures_is_compared(tmp_path: Path, there: bool) -> None:
    people = true_people(3)
    ctx = Context(Store.open(tmp_path / "store"), CONFIG, in_process=True)
    folder(tmp_path / "held", {"a.jpg": people[1].jpeg})
    IngestAnnotations(pictures(tmp_path / "held" / "images", dataset="sample", split="test")).run(ctx)
    made = write_hypothesis_cache(people, tmp_path / "cache")
    options = {PICTURES: str(tmp_path / "cache" / "images")} if there else {}
    cache = AnnotationSource(**{**vars(made), "options": options})
    reasons = list(refused(ctx, IngestHypotheses(cache).run(ctx)).values())
    assert reasons == ([LEAKED] if there else []), "crops alone don't tell which picture they come from"
    assert IngestHypotheses(cache, allow_leakage=True).run(ctx).record.tally.ok == 3


def test_a_test_cache_of_the_scorer_is_compared(tmp_path: Path) -> None:
    people = true_people(6)
    ctx = Context(Store.open(tmp_path / "store"), CONFIG, in_process=True)
    IngestHypotheses(write_scorer_cache(people[:4], tmp_path / "test")).run(ctx)
    train = write_scorer_cache(people[3:], tmp_path / "train", split="train")
    result = IngestHypotheses(train).run(ctx)
    assert list(refused(ctx, result).values()) == [LEAKED]
    assert result.record.tally.ok == 2
