"""Links among pictures: followed under a root that is named, refused and named elsewhere; no walk without end."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from infra.store import Store
from infra.tables import read
from schemas.errors import ConfigError, DataError
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.source.contents import contents_of
from tasks.ingest.source.folder import LINKED_FOLDER, LOCKED_FOLDER, Folder, LeftOut, RefusedError
from tests.samples.humandata import write_humandata
from tests.samples.truth import true_people
from tests.tasks.ingest.pictures import Heard, context, folder, jpeg, noise, pictures
from tests.tasks.ingest.test_annotated import CONFIG


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """root/images with pictures and links: to a folder and a file beside it, to a folder outside of root, to itself."""
    root = tmp_path / "root"
    folder(root, {"a.jpg": jpeg(noise()), "sub/b.jpg": jpeg(noise(seed=1))})
    for place in (root / "beside", tmp_path / "outside"):
        place.mkdir()
        (place / "c.jpg").write_bytes(jpeg(noise(seed=2)))
    (root / "images" / "linked").symlink_to("../beside")
    (root / "images" / "one.jpg").symlink_to("../beside/c.jpg")
    (root / "images" / "away").symlink_to(tmp_path / "outside")
    (root / "images" / "sub" / "up").symlink_to("..")
    return root


def listed(images: Path, follow_links: Path | None = None) -> tuple[list[str], dict[str, str]]:
    """Names of files, and what was left out."""
    left_out: list[LeftOut] = []
    opened = Folder(str(images), str(follow_links) if follow_links else None)
    names = sorted(name for name, _ in opened.files(left_out.append))
    return names, {each.name: each.detail for each in left_out}


def test_folders_behind_links_are_named_and_not_entered(root: Path) -> None:
    names, left_out = listed(root / "images")
    assert names == ["a.jpg", "one.jpg", "sub/b.jpg"]
    # a link to a folder that is listed anyway hides nothing
    assert set(left_out) == {"linked", "away"}
    assert f"a link to {root / 'beside'}, outside of {root / 'images'}: --follow-links DIR" in left_out["linked"]
    with pytest.raises(RefusedError, match=r"path leaves the folder: linked/c\.jpg is, or lies behind, a link to"):
        Folder(str(root / "images")).read("linked/c.jpg")


def test_links_are_followed_under_a_root_and_refused_beyond(root: Path, tmp_path: Path) -> None:
    names, left_out = listed(root / "images", root)
    assert names == ["a.jpg", "linked/c.jpg", "one.jpg", "sub/b.jpg"]
    assert set(left_out) == {"away"}
    assert f"neither in {root / 'images'} nor in {root} (--follow-links)" in left_out["away"]
    opened = Folder(str(root / "images"), str(root))
    assert opened.read("linked/c.jpg") == opened.read("one.jpg") == jpeg(noise(seed=2))
    with pytest.raises(RefusedError, match="path leaves the folder"):
        opened.read("away/c.jpg")
    assert listed(root / "images", tmp_path)[0] == ["a.jpg", "away/c.jpg", "linked/c.jpg", "one.jpg", "sub/b.jpg"]
    # a folder whose name only begins as the root's is not below it
    (tmp_path / "root2").mkdir()
    (root / "images" / "near").symlink_to(tmp_path / "root2")
    assert "near" in listed(root / "images", root)[1]


@pytest.mark.timeout(20)
def test_loops_end_and_each_folder_is_entered_once(tmp_path: Path) -> None:
    for number in range(12):
        place = tmp_path / "images" / f"f{number:02}"
        place.mkdir(parents=True)
        (place / "a.jpg").write_bytes(b"")
        for other in range(12):
            (place / f"to{other:02}").symlink_to(f"../f{other:02}")
    (tmp_path / "images" / "self").symlink_to(".")
    (tmp_path / "images" / "knot").symlink_to("knot")
    (tmp_path / "images" / "lost").symlink_to("nowhere")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b").symlink_to("../images")
    (tmp_path / "links" / "a").symlink_to("../images")
    names, left_out = listed(tmp_path / "images", tmp_path)
    assert [name for name in names if name.endswith("jpg")] == [f"f{number:02}/a.jpg" for number in range(12)]
    assert left_out == {}
    # one link leads to a folder above that of another one
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "a").symlink_to("../images/f03")
    (tmp_path / "nested" / "b").symlink_to("../images")
    found = [name for name in listed(tmp_path / "nested", tmp_path)[0] if name.endswith("jpg")]
    assert len(found) == 12
    assert "a/a.jpg" in found
    # of two links to a folder the first by name counts, whatever order a disk lists them in
    assert {name.split("/")[0] for name in listed(tmp_path / "links", tmp_path)[0]} == {"a"}


def test_folders_that_may_not_be_read_are_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).rstrip("/").endswith("sub") and allowed(path, mode)
    )
    assert listed(root / "images")[1]["sub"] == "sub may not be read by this user"
    found = contents_of(Folder(str(root / "images")))
    assert {each.reason for each in found.left_out} == {LINKED_FOLDER, LOCKED_FOLDER}
    assert found.in_words()[1] == "1 folder can't be looked into: sub may not be read by this user."


def test_an_ingest_names_what_it_did_not_look_into_and_takes_it_when_told(root: Path, tmp_path: Path) -> None:
    heard = Heard()
    ctx = context(tmp_path / "store", heard)
    given = pictures(root / "images")
    first = IngestAnnotations(given).run(ctx)
    assert (first.record.tally.ok, first.record.tally.filtered, first.record.tally.failed) == (2, 2, 1)
    rows = {row["id"]: row for row in read(ctx.store, "failures").to_pylist()}
    assert rows["mine/train/linked"]["outcome"] == "filtered"
    assert rows["mine/train/linked"]["reason"] == LINKED_FOLDER
    assert rows["mine/train/one.jpg#0"]["reason"] == "path leaves the folder"
    assert any("2 linked folders are not followed; the first: away is a link to" in line for line in heard.lines)
    told = pictures(root / "images", follow_links=root)
    assert IngestAnnotations(told).spec(ctx).key != first.key
    second = IngestAnnotations(told).run(ctx)
    assert (second.record.tally.ok, second.record.tally.filtered, second.record.tally.failed) == (4, 1, 0)
    images = read(ctx.store, "images", stage_keys=[second.key]).to_pylist()
    assert {row["uri"] for row in images} >= {str(root / "images" / "linked" / "c.jpg")}


@pytest.mark.slow
def test_annotations_whose_pictures_lie_behind_a_link(tmp_path: Path) -> None:
    given = write_humandata(true_people(2), tmp_path / "data")
    (tmp_path / "data" / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "data" / "images").symlink_to("../elsewhere")
    here = Context(Store.open(str(tmp_path / "store")), CONFIG, in_process=True)
    assert IngestAnnotations(given, CONFIG.body).run(here).record.tally.failed == 2
    (first, _) = read(here.store, "failures").to_pylist()
    assert first["reason"] == "path leaves the folder"
    assert "--follow-links DIR takes those that stay within DIR" in first["detail"]
    followed = replace(given, follow_links=str(tmp_path))
    assert IngestAnnotations(followed, CONFIG.body).run(here).record.tally.ok == 2


def test_there_are_no_links_behind_a_url(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no links to follow behind a URL"):
        Folder("memory://images", str(tmp_path))
    with pytest.raises(DataError, match="no folder of pictures"):
        Folder(str(tmp_path / "none"), str(tmp_path))
