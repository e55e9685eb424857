"""OSX's files of Human3.6M: bodies and joints of the world, seen by cameras."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from schemas.errors import ConfigError, DataError
from tasks.ingest.formats.osx_h36m.reader import SUFFIXES, OsxHuman36mReader
from tasks.ingest.people.annotations import AnnotationSource
from tests.samples.human36m_joints import seventeen
from tests.samples.osx_h36m import write_osx_h36m
from tests.samples.truth import TruePerson, true_people
from tests.tasks.ingest.formats.mutations import broken, mutated, rows_or_error


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(6)


def _rows(source: AnnotationSource, work: Path) -> list[dict[str, Any]]:
    return [row for batch in OsxHuman36mReader(source, work).batches() for row in batch.to_pylist()]


def _rotation(vector: Any) -> np.ndarray:
    return Rotation.from_rotvec(np.asarray(vector, float)).as_matrix()


def test_labels_agree_with_the_truth(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_osx_h36m(people, tmp_path)
    rows = _rows(source, tmp_path / "work")
    assert [row["row"] for row in rows] == list(range(6))
    # people go to the five subjects in turn, so the first has the first and the last
    for row, index in zip(rows, (0, 5, 1, 2, 3, 4), strict=True):
        person, label = people[index], people[index].label
        assert (row["reason"], row["label_kind"], row["body_model"], row["gender"]) == (None, "gt", "smplx", "neutral")
        assert (row["counts_as"], row["crop_rule"], row["crop_scale"]) == (5 * index, "joints", 1.0)
        np.testing.assert_allclose(_rotation(row["global_orient"]), _rotation(label.global_orient), atol=1e-5)
        np.testing.assert_allclose(row["body_pose"][:63], label.body_pose[:63], atol=1e-4)
        assert row["body_pose"][63:] == [0] * 6
        np.testing.assert_allclose(row["betas"], label.betas, atol=1e-4)
        np.testing.assert_allclose(np.array(row["human36m"]).reshape(17, 3), seventeen(person), atol=1e-4)
        rest = label.joints[0] - label.transl
        turn, shift = np.reshape(row["extrinsics"][:9], (3, 3)), np.array(row["extrinsics"][9:])
        np.testing.assert_allclose(turn @ (rest + row["transl"]) + shift, label.joints[0], atol=1e-5)
        assert [row[key] for key in ("fx", "fy", "cx", "cy")] == pytest.approx(person.intrinsics.tolist())
        np.testing.assert_allclose(row["box"], person.box, atol=1e-9)
        assert len(row["left_hand_pose"]) == len(row["right_hand_pose"]) == 45
        assert len(row["jaw_pose"]) == 3
        assert len(row["expression"]) == 10
        assert (tmp_path / "images" / row["path"]).is_file()


def test_the_test_reads_camera_4_of_two_subjects(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_osx_h36m(people, tmp_path, "test")
    reader = OsxHuman36mReader(source, tmp_path / "work")
    survey = reader.survey()
    assert survey.facts["subjects"] == "9, 11"
    assert survey.remarks == ["Rows of other cameras than 4 are left out."]
    assert survey.images == str(tmp_path / "images")
    rows = _rows(source, tmp_path / "work")
    assert [(row["row"], "_ca_04_" in row["path"]) for row in rows] == [(0, True), (3, True)]
    everything = AnnotationSource(source.format, source.url, "h", "test", options={"cameras": "all"})
    assert len(_rows(everything, tmp_path / "work")) == 6
    one = AnnotationSource(source.format, f"{source.url}/Human36M_subject11_data.json", "h", "test")
    assert [row["row"] for row in _rows(one, tmp_path / "work")] == [0]
    assert OsxHuman36mReader(one, tmp_path / "work").images == str(tmp_path / "images")


def test_what_no_table_takes_is_said_and_the_body_is_read(people: list[TruePerson], tmp_path: Path) -> None:
    def other(content: Any) -> None:
        for actions in content.values():
            for body in actions["1"].values():
                body |= {"lhand_pose": [0.1] * 12, "rhand_pose": [0.1] * 12, "expr": [0.5] * 50}
                body["shape"] = [*body["shape"], 2.5]

    source = write_osx_h36m(people[:3], tmp_path, subjects=[1], edit=_edit("bodies", other))
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None] * 3
    assert {row["left_hand_pose"] for row in rows} == {row["right_hand_pose"] for row in rows} == {None}
    assert all(row["expression"] == [0.5] * 10 for row in rows)
    np.testing.assert_allclose(rows[1]["betas"], people[1].label.betas, atol=1e-4)
    shapes, faces, hands = OsxHuman36mReader(source, tmp_path / "work").survey().remarks
    assert shapes.startswith("3 of the first shapes have up to 11 numbers; 10 are taken and the rest is CUT, up to 2.5")
    assert "faces have up to 50 numbers" in faces
    assert "Hands have 12 numbers, read as the first components of the body file's hand PCA" in hands
    assert {tuple(row["left_hand_pca"]) for row in rows} == {tuple([np.float32(0.1)] * 12)}
    short = _edit("bodies", lambda content: _body(content).update(expr=[0.5] * 4))
    source = write_osx_h36m(people[:3], tmp_path, subjects=[1], edit=short)
    assert _rows(source, tmp_path / "work")[1]["expression"] == [0.5] * 4 + [0.0] * 6
    # one hand of another length among others is that row's fault
    odd = _edit("bodies", lambda content: _body(content).update(lhand_pose=[0.1] * 12))
    source = write_osx_h36m(people[:3], tmp_path, subjects=[1], edit=odd)
    assert [row["reason"] for row in _rows(source, tmp_path / "work")] == [None, "row not readable", None]


def _edit(kind: str, change: Any) -> Any:
    def edit(which: str, content: Any) -> Any:
        if which == kind:
            change(content)
        return content

    return edit


def _body(content: Any) -> Any:
    return content["3"]["1"]["5"]


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("data", lambda c: c["annotations"][1].pop("bbox"), "key missing"),
        ("data", lambda c: c["images"][1].pop("frame_idx"), "key missing"),
        ("data", lambda c: c["images"][1].update(cam_idx=9), "key missing"),
        ("data", lambda c: c["images"][1].update(cam_idx="four"), "row not readable"),
        ("data", lambda c: c["annotations"][1].update(image_id=99), "image not listed"),
        ("joints", lambda c: c.pop("3"), "key missing"),
        ("joints", lambda c: _body(c).pop(), "key-point count"),
        ("bodies", lambda c: c["3"]["1"].pop("5"), "key missing"),
        ("bodies", lambda c: _body(c).pop("root_pose"), "key missing"),
        ("bodies", lambda c: _body(c).update(trans=None, body_pose=[0.0] * 66), "row not readable"),
        ("bodies", lambda c: _body(c).update(shape=[float("nan")] * 10), "not finite"),
        ("camera", lambda c: c["3"].update(R=[[1, 0, 0], [0, 2, 0], [0, 0, 1]]), "camera not usable"),
    ],
)
def test_a_bad_row_is_refused_and_its_neighbours_stay(
    people: list[TruePerson], tmp_path: Path, kind: str, change: Any, reason: str
) -> None:
    source = write_osx_h36m(people[:3], tmp_path, subjects=[1], edit=_edit(kind, change))
    rows = _rows(source, tmp_path / "work")
    assert [row["reason"] for row in rows] == [None, reason, None]
    assert rows[1]["detail"]
    assert rows[1]["origin"] == "Human36M_subject1_data.json, annotations[1]"


def test_sources_that_can_not_be_used(people: list[TruePerson], tmp_path: Path) -> None:
    source = write_osx_h36m(people[:1], tmp_path, subjects=[1])

    def reader(split: str = "train", url: str = source.url, **options: Any) -> OsxHuman36mReader:
        return OsxHuman36mReader(AnnotationSource("osx-h36m", url, "h", split, options=options), tmp_path / "work")

    with pytest.raises(DataError, match=r"Human36M_subject5_data\.json is not there"):
        reader()
    with pytest.raises(ConfigError, match="Which subjects"):
        reader("validation")
    with pytest.raises(ConfigError, match="no list of numbers"):
        reader(subjects="one")
    assert reader("validation", subjects=1).subjects == (1,)
    empty = write_osx_h36m([], tmp_path / "empty", subjects=[1])
    with pytest.raises(DataError, match="have no people"):
        list(OsxHuman36mReader(empty, tmp_path / "work").batches())


def test_mutated_files_end_as_rows_or_as_one_error(people: list[TruePerson], tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    source = write_osx_h36m(people[:3], tmp_path, subjects=[1])
    for kind, suffix in SUFFIXES.items():
        file = Path(source.url) / f"Human36M_subject1_{suffix}.json"
        text = file.read_bytes()
        content = json.loads(text)
        for _ in range(10):
            done, worse = mutated(content, rng)
            file.write_text(json.dumps(worse))
            told = rows_or_error(lambda: OsxHuman36mReader(source, tmp_path / "work"))
            if isinstance(told, list):
                expected = len(worse["annotations"]) if kind == "data" else 3
                assert [row["row"] for row in told] == list(range(expected)), done
        for _ in range(3):
            file.write_bytes(broken(text, rng))
            rows_or_error(lambda: OsxHuman36mReader(source, tmp_path / "work"))
        file.write_bytes(text)
