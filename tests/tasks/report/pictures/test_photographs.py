"""Views of people: cut from the pictures wherever the command is typed, else the stored crops enlarged."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.store import Store
from schemas.ids import StageKey, Target
from schemas.profiles import micro
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.people.annotations import AnnotationSource
from tasks.report.pictures.photographs import SIDE, _is_near, photographs
from tasks.rows.instances import instance_ids, load_instances
from tests.tasks.ingest.pictures import folder, jpeg, noise


@pytest.mark.parametrize("inside", [True, False])
def test_pictures_of_a_store_that_was_moved_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    """Inside of the store they are named from its root, elsewhere by their whole path."""
    store = Store.open(tmp_path / "store")
    place = Path(store.root, "synthetic") if inside else tmp_path / "own"
    place.mkdir()
    pictures = folder(place, {"a.jpg": jpeg(noise(256, 256))})
    source = AnnotationSource("folder", str(pictures), "mine", "train")
    key = StageKey(IngestAnnotations(source).run(Context(store, micro(), in_process=True)).key)
    if inside:
        Path(store.root).rename(tmp_path / "moved")
        store = Store.open(tmp_path / "moved")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    people = load_instances(store, [key], instance_ids(store, [key], [Target("mine", "train")]))
    crop = np.asarray(Image.fromarray(people.crops[0]).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    (sharp,) = photographs(store, [key], people)
    within = (slice(SIDE // 4, -SIDE // 4),) * 2
    assert sharp[within].std() > 1.5 * crop[within].std(), "the crop of 64 px has lost the noise"
    found = next(Path(store.root).rglob("a.jpg")) if inside else pictures / "a.jpg"
    found.write_bytes(jpeg(noise(256, 256, seed=1)))
    (other,) = photographs(store, [key], people)
    assert np.array_equal(other, crop), "a picture that was replaced since"
    found.unlink()
    (gone,) = photographs(store, [key], people)
    assert np.array_equal(gone, crop)


@pytest.mark.parametrize(
    ("uri", "near"),
    [
        ("synthetic/a.jpg", True),
        ("/photographs/a.jpg", True),
        ("file:///photographs/a.jpg", True),
        ("s3://bucket/a.jpg", False),
        ("http://host.example/a.jpg", False),
        ("simplecache::http://host.example/a.jpg", False),
        ("file:///a.zip::http://host.example/a.zip", False),
        ("/a.jpg::http", False),
    ],
)
def test_what_is_on_another_host(tmp_path: Path, uri: str, near: bool) -> None:
    assert _is_near(Store.open(tmp_path / "store"), uri) == near


def test_a_store_on_s3_has_its_own_pictures() -> None:
    store = Store("bucket/store", "s3")
    own, others = "s3://bucket/store/a.jpg", ("s3://bucket/store-of-others/a.jpg", "s3://other/store/a.jpg")
    assert _is_near(store, own)
    assert not any(_is_near(store, uri) for uri in others)
