"""Lists that were written on another system find their pictures, and never another one."""

import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.store import Store
from infra.tables import read
from tasks.engine.context import Context
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.formats.coco.reader import CocoReader
from tasks.ingest.formats.folder.labels import FolderLabels
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.source.files import open_url
from tasks.ingest.source.folder import PicturePlace, RefusedError, key_of
from tasks.ingest.source.spellings import folded, is_spelled, spellings
from tests.samples.coco import write_coco
from tests.samples.humandata import write_humandata
from tests.samples.truth import TruePerson, true_people
from tests.tasks.ingest.pictures import Heard, folder, remarks_of, rows_of, source
from tests.tasks.ingest.test_annotated import CONFIG

NFC, NFD = (unicodedata.normalize(form, "Zürich.jpg") for form in ("NFC", "NFD"))


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(4)


def planned(root: Path, paths: list[str]) -> tuple[dict[str, str], list[str]]:
    """The key, or the reason and its detail, of each path of a table of boxes; and what was said."""
    lines = "".join(f'"{path}",{number},0,10,10\n' for number, path in enumerate(paths))
    (root / "boxes.csv").write_text("path,x,y,w,h\n" + lines)
    rows = rows_of(source(root))
    keys = [f"{row['reason']}: {row['detail']}" if row["reason"] else row["path"] for row in rows]
    return dict(zip(paths, keys, strict=True)), remarks_of(source(root))


def test_other_spellings_of_a_picture_are_found(tmp_path: Path) -> None:
    names = ["sub/a.jpg", "B.JPG", NFC, f"sub/{NFD}".replace("Z", "W"), "back\\slash.jpg"]
    folder(tmp_path, dict.fromkeys(names, b""))
    found, said = planned(
        tmp_path,
        ["sub\\a.jpg", ".\\sub\\a.JPG", "./sub//a.jpg", "B.jpg", NFD, f"sub\\W{NFC[1:]}", "back/slash.jpg", " B.JPG "],
    )
    assert list(found.values()) == [
        *["sub/a.jpg"] * 3, "B.JPG", NFC, f"sub/W{NFD[1:]}", "back\\slash.jpg", "B.JPG"
    ]  # fmt: skip
    assert [line for line in said if "6 paths spell a picture in another way" in line]
    assert len(said) == 1


def test_no_path_means_another_picture_than_its_own(tmp_path: Path) -> None:
    folder(
        tmp_path,
        dict.fromkeys(["a.jpg", "a.JPG", "a.Jpg", "b.jpg", "C.jpg", "x\\y.jpg", "x/y.jpg", "d.jpg ", "d.jpg"], b""),
    )
    found, said = planned(
        tmp_path, ["a.jpg", "a.JPG", "a.jpG", "b.jpeg", "c.jpg", "x\\y.jpg", "x/y.jpg", "x\\y.JPG", "d.jpg ", "d.jpg"]
    )
    # with a picture of exactly that name, no other one is meant
    assert [found[name] for name in ("a.jpg", "a.JPG", "x\\y.jpg", "x/y.jpg", "d.jpg")] == [
        "a.jpg",
        "a.JPG",
        "x\\y.jpg",
        "x/y.jpg",
        "d.jpg",
    ]
    # where several may be, nothing tells which
    assert str(found["a.jpG"]) == (
        "picture missing: there is no 'a.jpG'; 'a.JPG' and 'a.Jpg' and 'a.jpg' are there, and nothing says which it is"
    )
    assert "'x/y.jpg' and 'x\\\\y.jpg' are there" in str(found["x\\y.JPG"])
    # another ending, and capitals elsewhere, are another name
    assert (found["b.jpeg"], found["c.jpg"]) == ("b.jpeg", "c.jpg")
    assert str(found["d.jpg "]).startswith("path not usable: 'd.jpg ' is there, and no picture's name may begin or end")
    assert said == [line for line in said if "have no row in" in line]


def test_whole_pictures_with_blanks_at_their_ends_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, {"d.jpg ": b"", "d.jpg": b""})
    rows = {row["path"]: row["reason"] for row in rows_of(source(tmp_path, None))}
    assert rows == {"d.jpg ": "path not usable", "d.jpg": None}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/data/set/images/a/b.jpg", "a/b.jpg"),
        ("file:///data/set/images/a/b.jpg", "a/b.jpg"),
        ("/data/set/images//a/b.jpg", "a/b.jpg"),
        ("/data/set/images2/b.jpg", None),
        ("/data/set/b.jpg", None),
        ("/data/set/images/../b.jpg", None),
        ("C:\\data\\set\\images\\b.jpg", None),
        ("\\\\server\\images\\b.jpg", None),
        ("s3://bucket/images/b.jpg", None),
    ],
)
def test_absolute_paths_count_below_the_folder(path: str, key: str | None) -> None:
    given = PicturePlace("/data/set/images/", "mine", "train")
    if key is None:
        with pytest.raises(RefusedError, match="path leaves the folder"):
            key_of(given, path)
    else:
        assert key_of(given, path) == key
    remote = PicturePlace("s3://bucket/images", "mine", "train")
    assert key_of(remote, "s3://bucket/images/a.jpg") == "a.jpg"


def test_absolute_paths_through_a_linked_folder(tmp_path: Path) -> None:
    folder(tmp_path, {"a.jpg": b""})
    (tmp_path / "linked").symlink_to("images")
    for images, path in (("linked", "images"), ("images", "images"), ("linked", "linked")):
        given = PicturePlace(str(tmp_path / images), "mine", "train")
        assert key_of(given, str(tmp_path / path / "a.jpg")) == "a.jpg"


def test_what_is_the_same_of_all_spellings() -> None:
    assert folded("sub\\A.JPG") == folded("./sub/A.jpg") == "sub/A.jpg"
    assert folded(NFD) == folded(NFC)
    assert folded("a.jpg") != folded("A.jpg")
    assert spellings([], ["a.jpg"]).in_words() is None


@pytest.mark.slow
@pytest.mark.parametrize("how", ["backslashes", "capitals", "dots", "absolute"])
def test_annotations_of_other_systems_find_their_pictures(how: str, people: list[TruePerson], tmp_path: Path) -> None:
    given = write_humandata(people, tmp_path / "data")
    expected = _keys(tmp_path / "one", given)[0]
    with np.load(given.url, allow_pickle=True) as file:
        members = dict(file)
    change = {
        "backslashes": lambda path: path.replace("/", "\\"),
        "capitals": lambda path: path.replace(".jpg", ".JPG"),
        "dots": lambda path: f"./{path.replace('/', '//')}",
        "absolute": lambda path: f"{tmp_path}/data/{path}",
    }[how]
    members["image_path"] = np.array([change(str(path)) for path in members["image_path"]])
    np.savez(given.url, **members)
    keys, said = _keys(tmp_path / "two", given)
    assert keys == expected
    assert any("4 paths spell a picture in another way" in line for line in said) == (
        how in ("backslashes", "capitals")
    )


def _keys(root: Path, given: AnnotationSource) -> tuple[set[str], list[str]]:
    """Names of the people that an ingest into a new store gives, and what was said."""
    heard = Heard()
    here = Context(Store.open(str(root)), CONFIG, heard, in_process=True)
    result = IngestAnnotations(given, CONFIG.body).run(here)
    assert result.record.tally.failed == 0
    assert result.record.tally.ok == 4
    return set(read(here.store, "instances").column("instance_id").to_pylist()), heard.lines


@pytest.mark.slow
def test_annotations_that_may_mean_several_pictures_are_refused(people: list[TruePerson], tmp_path: Path) -> None:
    given = write_humandata(people, tmp_path / "data")
    images = tmp_path / "data" / "images"
    data = (images / "000001.jpg").read_bytes()
    for name in ("000001.Jpg", "000002.jpg "):
        (images / name).write_bytes(data)
    with np.load(given.url, allow_pickle=True) as file:
        members = dict(file)
    members["image_path"] = np.array(
        ["images/000000.jpg", "images/000001.JPG", "images/000002.jpg ", "images/000003.jpg"]
    )
    np.savez(given.url, **members)
    here = Context(Store.open(str(tmp_path / "store")), CONFIG, in_process=True)
    assert IngestAnnotations(given, CONFIG.body).run(here).record.tally.ok == 2
    reasons = {row["reason"]: row["detail"] for row in read(here.store, "failures").to_pylist()}
    assert set(reasons) == {"picture missing", "path not usable"}
    assert "'images/000001.Jpg' and 'images/000001.jpg' are there" in reasons["picture missing"]


def test_coco_finds_the_folder_of_names_with_backslashes(people: list[TruePerson], tmp_path: Path) -> None:
    given = write_coco(people, tmp_path / "coco", "train")
    expected = CocoReader(given, tmp_path / "work").folder
    text = Path(given.url).read_text()
    for name in {path.name for path in (tmp_path / "coco").rglob("*.jpg")}:
        text = text.replace(f'"{name}"', f'"sub\\\\{name}"')
    for path in list((tmp_path / "coco").rglob("*.jpg")):
        (path.parent / "sub").mkdir(exist_ok=True)
        path.rename(path.parent / "sub" / path.name)
    Path(given.url).write_text(text)
    assert CocoReader(given, tmp_path / "work").folder == expected


def test_the_usual_spellings_are_looked_for_without_a_list(tmp_path: Path) -> None:
    folder(tmp_path, dict.fromkeys(["sub/a.jpg", NFD, "B.JPG"], b""))
    fs, base = open_url(str(tmp_path / "images"))
    assert all(is_spelled(fs, base, path) for path in ("sub\\a.JPG", NFC, "B.jpg", "sub/a.jpg"))
    assert not any(is_spelled(fs, base, path) for path in ("a.jpg", "b.jpg", "sub\\b.jpg"))


def test_labels_are_found_by_another_spelling(tmp_path: Path) -> None:
    folder(tmp_path, {"sub/a.jpg": b"", "b.jpg": b"", "b.JPG": b""})
    lengths = {"global_orient": 3, "body_pose": 69, "betas": 10, "transl": 3, "joints": 87, "twist": 46}
    rows = [
        {"path": path, "person": 0, **{name: [0.0] * n for name, n in lengths.items()}}
        for path in ("sub\\a.JPG", "b.JPG", "c.jpg", "c.JPG")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "labels.parquet")
    labels = FolderLabels(str(tmp_path / "labels.parquet"), frozenset({"sub/a.jpg", "b.jpg", "b.JPG"}))
    assert [labels.row(key, 0) for key in ("sub/a.jpg", "b.JPG", "c.jpg")] == [0, 1, 2]
    # the label of b.JPG is that picture's own
    assert labels.row("b.jpg", 0) is None
    assert labels.row("sub/a.jpg", 1) is None
    with pytest.raises(RefusedError, match=r"label not clear: 2 rows of .* may be person 0 of c\.Jpg"):
        labels.row("c.Jpg", 0)
