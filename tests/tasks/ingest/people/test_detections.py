"""Boxes as detectors write them: COCO, YOLO and MOT mean the same people, and what is left out says why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.tables import read
from schemas.errors import ConfigError, DataError
from tasks.ingest.annotated import IngestAnnotations
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.people.annotations import AnnotationSource
from tasks.ingest.people.detections import form_of
from tasks.ingest.people.picture_names import PictureNames
from tasks.ingest.source.folder import RefusedError
from tests.tasks.ingest.pictures import context, folder, jpeg, noise, remarks_of, rows_of

PICTURES = ("cam/000001.jpg", "cam/000002.jpg")
WIDTH, HEIGHT = 60, 80
FOUND: list[tuple[int, tuple[float, ...], int, float]] = [
    (0, (6.0, 8.0, 30.0, 40.0), 1, 0.9),
    (0, (3.0, 4.0, 45.0, 60.0), 1, 0.75),
    (0, (1.0, 2.0, 15.0, 20.0), 1, 0.25),
    (1, (12.0, 16.0, 24.0, 32.0), 1, 1.0),
]
"""Picture, x, y, w, h, class of COCO and score of what a detector found."""


def _coco(root: Path) -> Path:
    rows = [
        {"image_id": picture + 1, "category_id": kind, "bbox": box, "score": score}
        for picture, box, kind, score in [*FOUND, (1, (0, 0, 9, 9), 3, 0.99)]
    ]
    (root / "results.json").write_text(json.dumps(rows))
    return root / "results.json"


def _coco_object(root: Path) -> Path:
    rows = json.loads(_coco(root).read_text())
    images = [{"id": 7 + number, "file_name": f"/elsewhere/{name}"} for number, name in enumerate(PICTURES)]
    annotations = [{**row, "image_id": row["image_id"] + 6} for row in rows]
    (root / "object.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return root / "object.json"


def _yolo(root: Path) -> Path:
    (root / "labels").mkdir()
    (root / "labels" / "classes.txt").write_text("person\nbicycle\ncar\n")
    for number, name in enumerate(PICTURES):
        lines = [
            f"{kind - 1} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT} {score:g}\n"
            for picture, (x, y, w, h), kind, score in [*FOUND, (1, (0, 0, 9, 9), 3, 0.99)]
            if picture == number
        ]
        (root / "labels" / f"{Path(name).stem}.txt").write_text("".join(lines))
    return root / "labels"


def _mot(root: Path) -> Path:
    lines = [f"{picture + 1},-1,{','.join(map(str, box))},{score},-1,-1,-1\n" for picture, box, _, score in FOUND]
    (root / "det.txt").write_text("".join(lines))
    return root / "det.txt"


FORMS = (_coco, _coco_object, _yolo, _mot)


def _source(root: Path, boxes: Path, **options: Any) -> AnnotationSource:
    return AnnotationSource("folder", str(root / "images"), "mine", "train", options={"boxes": str(boxes), **options})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder(tmp_path, {name: jpeg(noise(WIDTH, HEIGHT, number)) for number, name in enumerate(PICTURES)})
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_people(root: Path, form: Any) -> None:
    given = _source(root, form(root))
    assert form_of(given.options["boxes"]) == form.__name__.strip("_").removesuffix("_object")
    here = context(root / "store")
    tally = IngestAnnotations(given).run(here).record.tally
    assert (tally.ok, tally.filtered, tally.failed) == (3, 1 if form is _mot else 2, 0)
    people = read(here.store, "instances").sort_by("instance_id").to_pylist()
    assert [row["instance_id"] for row in people] == [
        "mine/train/cam/000001.jpg#0",
        "mine/train/cam/000001.jpg#1",
        "mine/train/cam/000002.jpg#0",
    ]
    boxes = [box for _, box, kind, score in FOUND if kind == 1 and score >= 0.5]
    assert np.allclose([row["box_xywh"] for row in people], boxes, atol=1e-3)
    left_out = {row["reason"]: row["detail"] for row in read(here.store, "failures").to_pylist()}
    assert "score 0.25, below 0.5" in left_out["score too low"]
    if form is not _mot:
        assert f"class {2 if form is _yolo else 3}, not" in left_out["not a person"]


def test_a_lower_score_or_another_class_can_be_asked_for(root: Path) -> None:
    boxes = _coco(root)
    kept = [row for row in rows_of(_source(root, boxes, least_score="0.2")) if row["reason"] is None]
    assert [(row["path"], row["person"]) for row in kept] == [
        ("cam/000001.jpg", 0),
        ("cam/000001.jpg", 1),
        ("cam/000001.jpg", 2),
        ("cam/000002.jpg", 0),
    ]
    others = [row for row in rows_of(_source(root, boxes, person_class="3")) if row["reason"] is None]
    assert [row["box"] for row in others] == [[0, 0, 9, 9]]
    with pytest.raises(DataError, match=r"no box of class 9, but of 1, 3\. Say which .* option person_class"):
        rows_of(_source(root, boxes, person_class="9"))
    with pytest.raises(ConfigError, match="least_score is a number"):
        rows_of(_source(root, boxes, least_score="much"))
    said = " ".join(remarks_of(_source(root, boxes)))
    assert "1 of its 5 boxes are of other classes than 1." in said
    assert "1 of its 5 boxes have a score below 0.5" in said


def test_tracks_number_the_people(root: Path) -> None:
    (root / "gt.txt").write_text(
        "1,17,6,8,30,40,1,1,0.9\n1,4,3,4,45,60,1,1,1\n2,17,12,16,24,32,1,7,1\n2,5,1,1,9,9,0,1,1\n"
    )
    rows = rows_of(_source(root, root / "gt.txt"))
    assert [(row["path"], row["person"], row["reason"]) for row in rows] == [
        ("cam/000001.jpg", 17, None),
        ("cam/000001.jpg", 4, None),
        ("cam/000002.jpg", None, "not a person"),
        ("cam/000002.jpg", None, "score too low"),
    ]


def test_rows_that_cannot_be_used_cost_themselves(root: Path) -> None:
    texts = root / "labels"
    texts.mkdir()
    (texts / "000001.txt").write_text("0 0.5 0.5 0.5 0.5\n0 0.5 0.5\n0 30 40 20 30\n0 nan 0.5 0.1 0.1\n")
    (texts / "other.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    rows = rows_of(_source(root, texts))
    assert [(row["origin"], row["reason"]) for row in rows] == [
        ("000001.txt: row 1", None),
        ("000001.txt: row 2", "row not readable"),
        ("000001.txt: row 3", "box not in parts"),
        ("000001.txt: row 4", "box not finite"),
        ("other.txt: row 1", "picture missing"),
    ]
    (root / "bad.json").write_text(
        json.dumps([{"image_id": 1, "bbox": [1, 2, 3]}, 5, {"image_id": 99, "bbox": [1, 1, 9, 9]}])
    )
    assert [row["reason"] for row in rows_of(_source(root, root / "bad.json"))] == [
        "box not finite",
        "row not readable",
        "picture missing",
    ]


def test_tables_and_broken_files_are_what_they_were(root: Path) -> None:
    (root / "boxes.json").write_text('[{"path": "cam/000001.jpg", "x": 1, "y": 1, "w": 9, "h": 9}]')
    assert [row["box"] for row in rows_of(_source(root, root / "boxes.json"))] == [[1, 1, 9, 9]]
    for name, content, said in (
        ("broken.json", '[{"image_id": 1, "bbox": [1, 2', "is no readable JSON"),
        ("empty.json", "[]", "has no row"),
        ("object.json", "{}", "a list of rows is expected"),
    ):
        (root / name).write_text(content)
        with pytest.raises(DataError, match=said):
            rows_of(_source(root, root / name))
    (root / "nothing").mkdir()
    with pytest.raises(DataError, match="no text of boxes"):
        rows_of(_source(root, root / "nothing"))


def test_a_name_means_one_picture_or_none() -> None:
    names = PictureNames(["a.jpg", "sub/b.JPG", "train/c.png", "val/c.png", "f/000042.jpg"])
    meant = {"a": "a.jpg", "x/a.jpg": "a.jpg", "b": "sub/b.JPG", "train/c": "train/c.png", 42: "f/000042.jpg"}
    assert {called: names.meant(called) for called in meant} == meant
    for called, reason in (("c", "picture ambiguous"), ("other/b", "picture missing"), (7, "picture missing")):
        with pytest.raises(RefusedError, match=reason):
            names.meant(called)


def test_results_are_recognised_beside_their_pictures(root: Path) -> None:
    boxes = _coco(root)
    (candidate,) = recognise(str(boxes)).candidates
    assert (candidate.format, candidate.options) == ("folder", {"boxes": str(boxes)})
    assert candidate.url == str(root / "images")
