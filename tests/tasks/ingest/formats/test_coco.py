"""COCO's people: boxes and the key-points that are among the 29 joints."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import DataError
from tasks.ingest.formats.coco.reader import SLOTS, CocoReader, joint_called
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.coco import write_coco
from tests.samples.truth import TruePerson, true_people
from tests.tasks.ingest.formats.mutations import broken, mutated, rows_or_error


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


def _rows(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    return [row for batch in CocoReader(source, work).batches() for row in batch.to_pylist()]


def test_rows_agree_with_the_truth(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_coco(people, tmp_path)
    rows = _rows(source, tmp_path / "work")
    known = [4, 5, 7, 8, 16, 17, 18, 19, 20, 21]
    assert sorted(SLOTS.values()) == known
    for number, (row, person) in enumerate(zip(rows, people, strict=True)):
        assert row["reason"] is None
        assert (row["row"], row["counts_as"], row["crop_rule"], row["crop_scale"]) == (number, number, "box", 1.25)
        np.testing.assert_allclose(row["box"], person.box, atol=1e-9)
        assert (row["width_px"], row["height_px"]) == (person.width, person.height)
        pixels = np.array(row["pixels"]).reshape(29, 2)
        np.testing.assert_allclose(pixels[known], person.pixels[known], atol=0.01)
        assert np.isnan(np.delete(pixels, known, 0)).all()
        assert {row[key] for key in ("label_kind", "body_model", "joints", "fx", "betas")} == {None}
        assert (tmp_path / row["path"]).is_file()


def test_the_survey_says_what_there_is(people: list[TruePerson], tmp_path: Path) -> None:
    survey = CocoReader(write_coco(people, tmp_path), tmp_path / "work").survey()
    assert (survey.rows, survey.images) == (3, str(tmp_path))
    assert survey.facts["key-points"] == "17, of which 10 are among the 29 joints"
    assert survey.facts["pictures"] == str(tmp_path / "val2017")
    assert not survey.remarks


def test_points_that_are_not_marked_are_unknown(people: list[TruePerson], tmp_path: Path) -> None:
    def unmarked(content: Any) -> Any:
        content["annotations"][0]["keypoints"][3 * 5 + 2] = 0
        content["annotations"][1]["keypoints"] = [0] * 51
        del content["annotations"][2]["keypoints"]
        return content

    rows = _rows(write_coco(people, tmp_path, edit=unmarked), tmp_path / "work")
    assert [row["reason"] for row in rows] == [None] * 3
    pixels = np.array(rows[0]["pixels"]).reshape(29, 2)
    assert np.isnan(pixels[16]).all()
    assert np.isfinite(pixels[17]).all()
    assert rows[1]["pixels"] is None
    assert rows[2]["pixels"] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iscrowd": 1}, "crowd"),
        ({"bbox": [0, 0, 0, 0]}, "box without area"),
        ({"bbox": None}, "key missing"),
        ({"bbox": [1, 2, 3, 1e9]}, "box far too large"),
        ({"bbox": {"x": 1}}, "row not readable"),
        ({"image_id": 77}, "image not listed"),
        ({"image_id": [1]}, "image not listed"),
        ({"category_id": 3}, "row not readable"),
        ({"keypoints": [1.0] * 50}, "key-point count"),
        ({"keypoints": [1.0] * 54}, "key-point count"),
        ({"keypoints": [float("nan")] * 51}, "not finite"),
        ({"keypoints": "many"}, "row not readable"),
    ],
)
def test_a_bad_row_is_refused_and_its_neighbours_stay(
    people: list[TruePerson], tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    def edit(content: Any) -> Any:
        content["annotations"][1] |= change
        return content

    rows = _rows(write_coco(people, tmp_path, edit=edit), tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, reason, None]
    assert rows[1]["detail"]


def test_what_is_no_person_is_left_out(people: list[TruePerson], tmp_path: Path) -> None:
    def with_dog(content: Any) -> Any:
        content["categories"].append({"id": 18, "name": "dog"})
        content["annotations"][0]["category_id"] = 18
        return content

    source = write_coco(people, tmp_path, edit=with_dog)
    assert [row["row"] for row in _rows(source, tmp_path / "work")] == [1, 2]
    survey = CocoReader(source, tmp_path / "work").survey()
    assert survey.rows == 2
    assert survey.remarks == ["Only the category 'person' of 2 is taken."]
    dogs = AnnotationSource("coco", source.url, "coco", "val", options={"category": "dog"})
    assert [row["row"] for row in _rows(dogs, tmp_path / "work")] == [0]


def test_a_skeleton_of_its_own_goes_by_names(people: list[TruePerson], tmp_path: Path) -> None:
    def other(content: Any) -> Any:
        content["categories"][0]["keypoints"] = ["tail", "right_wrist"]
        for annotation in content["annotations"]:
            annotation["keypoints"] = [1, 2, 2, 30, 40, 1]
        return content

    row = _rows(write_coco(people, tmp_path, edit=other), tmp_path / "work")[0]
    pixels = np.array(row["pixels"]).reshape(29, 2)
    assert pixels[21].tolist() == [30, 40]
    assert np.isfinite(pixels).sum() == 2


def _with_names(people: list[TruePerson], names: list[str]) -> Any:
    """An `edit` that writes other key-points, each at the joint that its name means, else in the box's middle."""

    def edit(content: Any) -> Any:
        content["categories"][0]["keypoints"] = names
        for person, annotation in zip(people, content["annotations"], strict=True):
            x, y, w, h = annotation["bbox"]
            spots = [None if joint is None else person.pixels[joint] for joint in map(joint_called, names)]
            points = [(x + w / 2, y + h / 2) if spot is None else spot.tolist() for spot in spots]
            annotation["keypoints"] = [value for point in points for value in (*point, 2.0)]
        return content

    return edit


_LIMBS = ("Shoulder", "Elbow", "Wrist", "Knee", "Ankle")
_HALPE = [
    *("Nose", "LEye", "REye", "LEar", "REar", *(f"{side}{limb}" for limb in _LIMBS[:3] for side in "LR")),
    *("LHip", "RHip", "LKnee", "RKnee", "LAnkle", "RAnkle", "Head", "Neck", "Hip"),
    *("LBigToe", "RBigToe", "LSmallToe", "RSmallToe", "LHeel", "RHeel"),
]
_WHOLE_BODY = [
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *(
        f"{side}_{limb}"
        for limb in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
    *(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")),
    *(f"face-{number}" for number in range(68)),
    *(f"{side}_hand_{number}" for side in ("left", "right") for number in range(21)),
]
_NINETEEN = [*(f"{side}_{limb}" for limb in _LIMBS for side in "lr"), *(f"point {number}" for number in range(9))]


@pytest.mark.parametrize(
    ("names", "toes"), [(_HALPE, [27, 28]), (_WHOLE_BODY, [27, 28]), (_NINETEEN, [])], ids=["26", "133", "19"]
)
def test_any_number_of_key_points_goes_by_their_names(
    people: list[TruePerson], tmp_path: Path, names: list[str], toes: list[int]
) -> None:
    source = write_coco(people, tmp_path, edit=_with_names(people, names))
    known = [4, 5, 7, 8, 16, 17, 18, 19, 20, 21, *toes]
    for row, person in zip(_rows(source, tmp_path / "work"), people, strict=True):
        assert row["reason"] is None
        pixels = np.array(row["pixels"]).reshape(29, 2)
        np.testing.assert_allclose(pixels[known], person.pixels[known], atol=0.01)
        assert np.isnan(np.delete(pixels, known, 0)).all()
    survey = CocoReader(source, tmp_path / "work").survey()
    assert survey.facts["key-points"] == f"{len(names)}, of which {len(known)} are among the 29 joints"
    assert not survey.remarks


def test_names_of_other_places_are_no_joints() -> None:
    assert {joint_called(name) for name in ("left_hip", "RHip", "neck", "Head", "pelvis", "lean", "relbow", "")} == {
        None
    }
    assert joint_called("L_Shoulder") == joint_called("left shoulder") == joint_called("LShoulder") == 16
    assert joint_called("LEFT_SHOULDER") == joint_called("LSHOULDER") == 16
    assert joint_called("r_ankle") == joint_called("Right-Ankle") == 8


def test_a_row_of_another_count_says_that_nothing_names_its_points(people: list[TruePerson], tmp_path: Path) -> None:
    def odd(content: Any) -> Any:
        content["annotations"][1]["keypoints"] = [1.0] * 78
        return content

    for edit, said in ((odd, "the category names 17"), (lambda c: odd(c).pop("categories") and c, "no category names")):
        row = _rows(write_coco(people, tmp_path, edit=edit), tmp_path / "work")[1]
        assert row["reason"] == "key-point count"
        assert said in row["detail"]


def _corners(content: Any) -> Any:
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]
    return content


def _outlined(content: Any) -> Any:
    """With masks in place of key-points."""
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        del annotation["keypoints"]
    return content


def _bare(content: Any) -> Any:
    for annotation in content["annotations"]:
        del annotation["keypoints"]
    return content


@pytest.mark.parametrize(
    "with_", [lambda content: content, _outlined, _bare], ids=["key-points", "masks", "boxes alone"]
)
def test_boxes_that_are_corners_are_refused_with_the_likely_cause(tmp_path: Path, with_: Any) -> None:
    people = true_people(8)
    right = write_coco(people, tmp_path, edit=with_)
    assert {row["reason"] for row in _rows(right, tmp_path / "work")} == {None}
    wrong = write_coco(people, tmp_path, edit=lambda content: _corners(with_(content)))
    rows = _rows(wrong, tmp_path / "work")
    assert {row["reason"] for row in rows} == {"box looks like corners"}
    assert "as x1, y1, x2, y2" in rows[0]["detail"]
    assert "look like corners" in CocoReader(wrong, tmp_path / "work").survey().remarks[0]


@pytest.mark.parametrize("with_", [lambda content: content, _outlined], ids=["key-points", "masks"])
def test_a_box_elsewhere_than_what_it_is_of(people: list[TruePerson], tmp_path: Path, with_: Any) -> None:
    def elsewhere(content: Any) -> Any:
        with_(content)["annotations"][1]["bbox"] = [1.0, 1.0, 14.0, 14.0]
        return content

    rows = _rows(write_coco(people, tmp_path, edit=elsewhere), tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, "box disagrees", None]


@pytest.mark.parametrize(("count", "whose"), [(14, "CrowdPose"), (26, "Halpe"), (136, "Halpe"), (20, None)])
@pytest.mark.parametrize("named", [True, False])
def test_key_points_that_nobody_names_are_not_used_and_said(
    people: list[TruePerson], tmp_path: Path, count: int, whose: str | None, named: bool
) -> None:
    def other(content: Any) -> Any:
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["keypoints"] = [x + w / 2, y + h / 2, 2.0] * count
        content["annotations"][2]["keypoints"] = [0.0] * 51
        if not named:
            del content["categories"]
        return content

    source = write_coco(people, tmp_path, edit=other)
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, None, "key-point count"]
    assert [row["pixels"] for row in rows] == [None] * 3
    survey = CocoReader(source, tmp_path / "work").survey()
    assert survey.facts["key-points"] == f"{count}, without names: compared with the boxes only"
    (remark,) = survey.remarks
    assert f"Most people have {count} key-points" in remark
    assert whose is None or f"(as {whose} has)" in remark


def test_files_that_can_not_be_used(people: list[TruePerson], tmp_path: Path) -> None:
    def reader(content: Any) -> CocoReader:
        (tmp_path / "file.json").write_text(json.dumps(content))
        source = AnnotationSource("coco", str(tmp_path / "file.json"), "any", "train")
        return CocoReader(source, tmp_path / "work")

    with pytest.raises(DataError, match="is a list"):
        reader([{"image_id": 1, "bbox": [0, 0, 1, 1]}])
    with pytest.raises(DataError, match="no category 'person', but 'dog'"):
        reader({"categories": [{"id": 1, "name": "dog"}]}).survey()
    with pytest.raises(DataError, match="has no people"):
        list(reader({"images": []}).batches())


def test_mutated_files_end_as_rows_or_as_one_error(people: list[TruePerson], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    source = write_coco(people, tmp_path)
    file = Path(source.url)
    text = file.read_bytes()
    content = json.loads(text)
    for _ in range(40):
        done, worse = mutated(content, rng)
        file.write_text(json.dumps(worse))
        told = rows_or_error(lambda: CocoReader(source, tmp_path / "work"))
        if isinstance(told, list):
            assert [row["row"] for row in told] == list(range(len(worse["annotations"]))), done
    for _ in range(20):
        file.write_bytes(broken(text, rng))
        rows_or_error(lambda: CocoReader(source, tmp_path / "work"))
