"""The seven sets of ScoreHypo's json files: what is written from true people is read as they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.scorehypo.reader import ScoreHypoReader
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.human36m_joints import seventeen
from tests.samples.scorehypo import NAMES, write_scorehypo
from tests.samples.truth import TruePerson, true_people
from tests.tasks.ingest.formats.mutations import broken, mutated, rows_or_error

BODIES = tuple(name for name in NAMES if name != "mpi-inf-3dhp")


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


def _rows(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    return [row for batch in ScoreHypoReader(source, work).batches() for row in batch.to_pylist()]


def _near(row: dict[str, Any], column: str, truth: Any, tolerance: float) -> None:
    assert row[column] is not None, column
    np.testing.assert_allclose(np.array(row[column], float), np.asarray(truth).reshape(-1), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_agree_with_the_truth(people: list[TruePerson], tmp_path: Path, name: str, split: str) -> None:
    source = write_scorehypo(people, tmp_path, name, split)
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None] * len(people)
    assert [row["row"] for row in rows] == [0, 1, 2]
    for row, person in zip(rows, people, strict=True):
        label = person.label
        _near(row, "global_orient", label.global_orient, 1e-4)
        _near(row, "body_pose", label.body_pose, 1e-4)
        _near(row, "betas", label.betas, 1e-4)
        _near(row, "human36m", seventeen(person), 1e-4)
        _near(row, "box", person.box, 1e-9)
        assert [row[key] for key in ("fx", "fy", "cx", "cy")] == pytest.approx(person.intrinsics.tolist())
        assert (row["width_px"], row["height_px"]) == (person.width, person.height)
        assert (row["body_model"], row["gender"], row["joints_by"], row["crop_rule"]) == (
            *("smpl", "neutral", "body", "joints"),
        )
        assert row["label_kind"] == ("gt" if name in ("3dpw", "human36m", "surreal") else "pseudo")
        assert row["crop_scale"] == (1.0 if name == "human36m" else 1.25)
        # 3DPW's test file has 24 joints, SURREAL's leaves are not labelled
        known = 24 if name == "surreal" or (name, split) == ("3dpw", "test") else 29
        joints = np.array(row["joints"]).reshape(29, 3)
        np.testing.assert_allclose(joints[:known], label.joints[:known], atol=1e-4)
        assert np.isnan(joints[known:]).all()
        if name == "3dpw":
            _near(row, "transl", label.transl, 1e-4)
        else:
            assert row["transl"] is None
            _near(row, "root", label.joints[0], 1e-4)
        if name != "human36m":
            pixels = np.array(row["pixels"]).reshape(29, 2)
            np.testing.assert_allclose(pixels[:known], person.pixels[:known], atol=0.01)
            assert np.isnan(pixels[known:]).all()
        if (name, split) != ("3dpw", "test"):
            _near(row, "twist", label.twist, 1e-4)
        assert (Path(ScoreHypoReader(source, tmp_path / "work").images) / row["path"]).is_file()


@pytest.mark.parametrize("split", ["train", "test"])
def test_key_points_of_mpi_inf_3dhp_go_by_their_names(people: list[TruePerson], tmp_path: Path, split: str) -> None:
    source = write_scorehypo(people, tmp_path, "mpi-inf-3dhp", split)
    rows = _rows(source, tmp_path / "work")
    for row, person in zip(rows, people, strict=True):
        assert (row["reason"], row["body_model"], row["joints_by"], row["crop_rule"]) == (None, None, "names", "box")
        joints = np.array(row["joints"]).reshape(29, 3)
        known = ~np.isnan(joints[:, 0])
        same = [4, 5, 7, 8, *range(16, 22)]
        assert np.flatnonzero(known).tolist() == (
            sorted([0, 1, 2, 6, 9, 10, 11, 12, *same]) if split == "train" else same
        )
        np.testing.assert_allclose(joints[known], person.label.joints[known], atol=1e-4)
        np.testing.assert_allclose(
            np.array(row["human36m"]).reshape(17, 3)[[*range(7), 8, *range(10, 17)]],
            seventeen(person)[[*range(7), 8, *range(10, 17)]],
            atol=1e-4,
        )
        assert [row[key] for key in ("fx", "fy", "cx", "cy")] == pytest.approx(person.intrinsics.tolist())


@pytest.mark.parametrize("name", NAMES)
def test_the_survey_names_the_set_and_its_units(people: list[TruePerson], tmp_path: Path, name: str) -> None:
    source = write_scorehypo(people, tmp_path, name)
    survey = ScoreHypoReader(source, tmp_path / "work").survey()
    titles = {"3dpw": "3DPW", "human36m": "Human3.6M", "mpi-inf-3dhp": "MPI-INF-3DHP", "up3d": "UP3D"}
    assert survey.format == f"scorehypo ({titles.get(name, name.upper())})"
    assert survey.rows == 3
    assert survey.images == str(tmp_path)
    assert "in millimetres" in survey.facts["units"]


def test_3dpw_is_in_mm_for_training_and_in_metres_for_the_test(people: list[TruePerson], tmp_path: Path) -> None:
    for split, unit in (("train", "millimetres"), ("test", "metres")):
        reader = ScoreHypoReader(write_scorehypo(people, tmp_path / split, "3dpw", split), tmp_path / "work")
        assert reader.survey().facts["units"] == f"smpl_joint_cam in {unit}, h36m_joints in metres"


def test_a_file_in_no_unit_is_refused(people: list[TruePerson], tmp_path: Path) -> None:
    def in_inches(content: Any) -> Any:
        for row in content:
            row["joint_cam_29"] = (np.array(row["joint_cam_29"]) / 25.4).tolist()
        return content

    source = write_scorehypo(people, tmp_path, "coco", edit=in_inches)
    with pytest.raises(DataError, match=r"joint_cam_29.*metres"):
        list(ScoreHypoReader(source, tmp_path / "work").batches())


def test_human36m_counts_frames_and_leaves_out_three_sequences(people: list[TruePerson], tmp_path: Path) -> None:
    def excluded(content: Any) -> Any:
        content["images"][1]["file_name"] = "s_09_act_10_subact_02_ca_01/s_09_act_10_subact_02_ca_01_000064.jpg"
        content["images"][2]["frame_idx"] = 77
        return content

    source = write_scorehypo(people, tmp_path, "human36m", edit=excluded)
    rows = _rows(source, tmp_path / "work")
    assert [row["counts_as"] for row in rows] == [1, 64, 77]
    assert [row["reason"] for row in rows] == [None, "excluded sequence", None]


def test_twists_that_are_marked_as_invalid_are_unknown(people: list[TruePerson], tmp_path: Path) -> None:
    def marked(content: Any) -> Any:
        content["annotations"][0]["angle_twist"]["angle"][4] = -999.0
        return content

    rows = _rows(write_scorehypo(people, tmp_path, "3dpw", edit=marked), tmp_path / "work")
    twist = np.array(rows[0]["twist"]).reshape(23, 2)
    assert np.isnan(twist).nonzero()[0].tolist() == [4, 4]
    assert rows[0]["reason"] is None
    assert np.isfinite(rows[1]["twist"]).all()


def test_what_the_description_leaves_open_is_settled_by_the_rows(people: list[TruePerson], tmp_path: Path) -> None:
    def corners(content: Any) -> Any:
        for row in content:
            x, y, w, h = row["bbox"]
            row["bbox"] = [x, y, x + w, y + h]
        return content

    reader = ScoreHypoReader(write_scorehypo(people, tmp_path, "coco", edit=corners), tmp_path / "work")
    assert any("two corners" in remark for remark in reader.survey().remarks)
    for row, person in zip(_rows(reader.source, tmp_path / "work"), people, strict=True):
        _near(row, "box", person.box, 1e-6)

    def elsewhere(content: Any) -> Any:
        for row in content["annotations"]:
            row["smpl_param"]["trans"] = [100.0, 0.0, 3.0]
        return content

    reader = ScoreHypoReader(write_scorehypo(people, tmp_path, "3dpw", edit=elsewhere), tmp_path / "work")
    assert any("no translation in the camera frame" in remark for remark in reader.survey().remarks)
    row = _rows(reader.source, tmp_path / "work")[0]
    assert row["transl"] is None
    _near(row, "root", people[0].label.joints[0], 1e-4)


@pytest.mark.parametrize("name", ["3dpw", "human36m", "mpii"])
def test_shapes_beyond_ten_numbers_are_cut_and_said(people: list[TruePerson], tmp_path: Path, name: str) -> None:
    def longer(content: Any) -> Any:
        for row in content["annotations"] if isinstance(content, dict) else content:
            (row if name == "human36m" else row["smpl_param"])["betas" if name == "human36m" else "shape"] += [-1.5, 0]
        return content

    reader = ScoreHypoReader(write_scorehypo(people, tmp_path, name, edit=longer), tmp_path / "work")
    (said,) = (remark for remark in reader.survey().remarks if "CUT" in remark)
    assert said.startswith("3 of the first shapes have up to 12 numbers; 10 are taken and the rest is CUT, up to 1.5")
    _near(_rows(reader.source, tmp_path / "work")[0], "betas", people[0].label.betas, 1e-4)


def test_joints_relative_to_the_root_are_placed_by_what_else_says_it(people: list[TruePerson], tmp_path: Path) -> None:
    def relative(content: Any) -> Any:
        for row in content["annotations"]:
            key = "smpl_joints" if "smpl_joints" in row else "smpl_joint_cam"
            joints = np.array(row[key])
            row[key] = (joints - joints[0]).tolist()
        return content

    def without_place(content: Any) -> Any:
        for row in relative(content)["annotations"]:
            row.pop("root_coord", None)
        return content

    row = _rows(write_scorehypo(people, tmp_path, "human36m", edit=relative), tmp_path / "work")[0]
    _near(row, "root", people[0].label.joints[0], 1e-4)
    row = _rows(write_scorehypo(people, tmp_path, "3dpw", edit=relative), tmp_path / "work")[0]
    _near(row, "transl", people[0].label.transl, 1e-4)
    row = _rows(write_scorehypo(people, tmp_path, "human36m", edit=without_place), tmp_path / "work")[0]
    assert (row["reason"], row["root"], row["transl"]) == (None, None, None)


def test_boxes_of_containers_may_be_corners_or_elsewhere(people: list[TruePerson], tmp_path: Path) -> None:
    def corners(content: Any) -> Any:
        for row in content["annotations"]:
            x, y, w, h = row["bbox"]
            row["bbox"] = [x, y, x + w, y + h]
        return content

    reader = ScoreHypoReader(write_scorehypo(people, tmp_path, "3dpw", edit=corners), tmp_path / "work")
    assert any("two corners" in remark for remark in reader.survey().remarks)
    for row, person in zip(_rows(reader.source, tmp_path / "work"), people, strict=True):
        _near(row, "box", person.box, 1e-6)
    elsewhere = write_scorehypo(people, tmp_path, "3dpw", edit=_spoilt("bbox", [1, 1, 14, 14]))
    assert [row["reason"] for row in _rows(elsewhere, tmp_path / "work")] == [None, "box disagrees", None]


def test_labels_that_coco_marks_as_invalid_are_left_out(people: list[TruePerson], tmp_path: Path) -> None:
    def invalid(content: Any) -> Any:
        content[0]["joint_cam_valid"] = 0
        content[1]["joint_cam_valid"] = [0] + [1] * 28
        return content

    rows = _rows(write_scorehypo(people, tmp_path, "coco", edit=invalid), tmp_path / "work")
    assert (rows[0]["reason"], rows[0]["label_kind"], rows[0]["body_pose"]) == (None, None, None)
    assert rows[0]["pixels"] is not None
    joints = np.array(rows[1]["joints"]).reshape(29, 3)
    assert np.isnan(joints[0]).all()
    assert np.isfinite(joints[1:]).all()


def _spoilt(key: str, value: Any) -> Any:
    def edit(content: Any) -> Any:
        row = content["annotations"][1] if isinstance(content, dict) else content[1]
        *outer, last = key.split(".")
        for part in outer:
            row = row[part]
        if value is KeyError:
            del row[last]
        else:
            row[last] = value
        return content

    return edit


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("bbox", KeyError, "key missing"),
        ("smpl_param", KeyError, "key missing"),
        ("smpl_joint_cam", KeyError, "key missing"),
        ("image_id", KeyError, "key missing"),
        ("image_id", 99, "image not listed"),
        ("bbox", [1, 2, 3], "row not readable"),
        ("bbox", [1, 2, 0, 5], "box without area"),
        ("bbox", [1, 2, float("nan"), 5], "not finite"),
        ("smpl_param.pose", [0.0] * 71, "row not readable"),
        ("smpl_param.pose", ["a"] * 72, "row not readable"),
        ("smpl_param.gender", "many", "row not readable"),
        ("smpl_param.shape", [float("inf")] + [0.0] * 9, "not finite"),
        ("smpl_param.trans", [1e39, 0, 0], "not finite"),
        ("smpl_joint_cam", [[0.0] * 3] * 28, "key-point count"),
        ("h36m_joints", [[0.0] * 3] * 16, "key-point count"),
        ("smpl_joint_img", "all", "row not readable"),
        ("cam_param", {"focal": [-1, 1], "princpt": [0, 0]}, "camera not usable"),
        ("cam_param", {"focal": [1, 1]}, "key missing"),
        ("width", 0, "row not readable"),
        ("file_name", 7, "row not readable"),
    ],
)
def test_a_bad_row_is_refused_and_its_neighbours_stay(
    people: list[TruePerson], tmp_path: Path, key: str, value: Any, reason: str
) -> None:
    source = write_scorehypo(people, tmp_path, "3dpw", edit=_spoilt(key, value))
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, reason, None]
    assert rows[1]["detail"]
    assert rows[1]["origin"] == "3DPW_train.json, annotations[1]"


def test_lists_of_two_lengths_leave_the_rest_without_images(people: list[TruePerson], tmp_path: Path) -> None:
    def shorter(content: Any) -> Any:
        del content["images"][2]
        content["annotations"][1]["image_id"] = 7
        return content

    rows = _rows(write_scorehypo(people, tmp_path, "human36m", edit=shorter), tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, "row not readable", "key missing"]


def test_the_order_of_the_two_lists_does_not_matter(people: list[TruePerson], tmp_path: Path) -> None:
    def swapped(content: Any) -> Any:
        return {"annotations": content["annotations"], "images": content["images"][::-1]}

    rows = _rows(write_scorehypo(people, tmp_path, "3dpw", edit=swapped), tmp_path / "work")
    assert [row["path"] for row in rows] == [f"imageFiles/downtown_sample_00/image_0000{i}.jpg" for i in range(3)]


def test_files_that_are_none_of_the_seven(people: list[TruePerson], tmp_path: Path) -> None:
    def reader(content: Any, **options: Any) -> ScoreHypoReader:
        (tmp_path / "file.json").write_text(json.dumps(content))
        url = str(tmp_path / "file.json")
        return ScoreHypoReader(AnnotationSource("scorehypo", url, "any", "train", options=options), tmp_path / "work")

    with pytest.raises(DataError, match=r"none of 3DPW.*keys are .*'apples'"):
        reader([{"apples": 1}]).survey()
    with pytest.raises(DataError, match="has no people"):
        reader({"images": []}).survey()
    with pytest.raises(DataError, match="can't be 3DPW"):
        reader([{"apples": 1}], set="3dpw")
    with pytest.raises(ConfigError, match="no set of ScoreHypo's '5dpw'; there are 3dpw"):
        reader([], set="5dpw")
    missing = AnnotationSource("scorehypo", str(tmp_path / "no.json"), "any", "train")
    with pytest.raises(DataError, match="is not there"):
        ScoreHypoReader(missing, tmp_path / "work")


@pytest.mark.parametrize("name", NAMES)
def test_mutated_files_end_as_rows_or_as_one_error(people: list[TruePerson], tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(sum(map(ord, name)))
    source = write_scorehypo(people, tmp_path, name)
    file = Path(source.url)
    text = file.read_bytes()
    content = json.loads(text)
    for _ in range(8):
        done, worse = mutated(content, rng)
        file.write_text(json.dumps(worse))
        told = rows_or_error(lambda: ScoreHypoReader(source, tmp_path / "work"))
        if isinstance(told, list):
            people_left = worse["annotations"] if isinstance(worse, dict) else worse
            assert [row["row"] for row in told] == list(range(len(people_left))), done
    for _ in range(3):
        file.write_bytes(broken(text, rng))
        rows_or_error(lambda: ScoreHypoReader(source, tmp_path / "work"))
