"""SPIN's and BEDLAM's files as rows: names and units of their makers, bad rows alone, hostile files."""

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import DataError
from tasks.ingest.formats.recognition import recognise
from tasks.ingest.formats.registry import reader_of
from tasks.ingest.people.annotations import ANNOTATIONS, AnnotationSource, Reader
from tests.samples import bedlam, spin_npz
from tests.samples.truth import TruePerson, true_people
from tests.tasks.ingest.formats.test_humandata import ODD, _as_saved
from tests.tasks.ingest.npz_files import saved

COUNT = 6
PATHS = [f"{number}.jpg" for number in range(COUNT)]


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(COUNT)


def made_of(people: list[TruePerson], kind: str) -> dict[str, Any]:
    """The members of a file: spin, hmr2, smplx or smpl (of BEDLAM)."""
    if kind in ("spin", "hmr2"):
        return spin_npz.members(people, PATHS, kind, body=True, points=True, joints=True)
    return bedlam.members(people, PATHS, kind)


def reader(path: Path, kind: str, **options: Any) -> Reader:
    name = "spin-npz" if kind in ("spin", "hmr2") else "bedlam"
    return reader_of(AnnotationSource(name, str(path), "own", "train", options=options), path.parent / "work")


def written(folder: Path, made: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "own.npz").write_bytes(saved(**{key: value for key, value in made.items() if value is not None}))
    return folder / "own.npz"


def rows_of(found: Reader) -> list[dict[str, Any]]:
    rows = []
    for part in found.batches():
        assert part.schema == ANNOTATIONS
        rows += part.to_pylist()
    return rows


def vector(rows: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], np.float64)


def remarks_of(found: Reader) -> str:
    return " ".join(found.survey().remarks)


@pytest.mark.parametrize(("kind", "unit"), [("spin", "200 px"), ("hmr2", "pixels")])
def test_names_and_units_of_spin_and_of_4d_humans(
    people: list[TruePerson], tmp_path: Path, kind: str, unit: str
) -> None:
    path = written(tmp_path, made_of(people, kind))
    found = reader(path, kind)
    rows = rows_of(found)
    assert [row["reason"] for row in rows] == [None] * COUNT
    assert [row["path"] for row in rows] == PATHS
    assert {(row["label_kind"], row["body_model"], row["crop_rule"], row["box_per_joints"]) for row in rows} == {
        ("gt", "smpl", "joints", 1.0)
    }
    for name in ("global_orient", "body_pose", "betas"):
        np.testing.assert_allclose(vector(rows, name), [getattr(one.label, name) for one in people], atol=1e-6)
    centres, sides = spin_npz.squares(people)
    boxes = vector(rows, "box")
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:] / 2, centres, atol=1e-6)
    np.testing.assert_allclose(boxes[:, 2:], np.stack([sides, sides], 1) / 1.2)
    limbs = [4, 5, 7, 8, 16, 17, 18, 19, 20, 21]
    pixels = vector(rows, "pixels").reshape(-1, 29, 2)
    np.testing.assert_allclose(pixels[:, limbs], [one.pixels[limbs] for one in people], atol=1e-3)
    assert np.isnan(pixels[:, [0, 1, 2]]).all(), "hips of other makers are elsewhere"
    survey = found.survey()
    assert survey.facts["box"] == f"center and scale, in {unit}"
    assert (survey.bodies, survey.rows, survey.images) == (["smpl"], COUNT, str(tmp_path))
    assert "fits its 2D key-points best" in remarks_of(found)
    assert {row["label_kind"] for row in rows_of(reader(path, kind, label_kind="pseudo"))} == {"pseudo"}


def test_openpose_stands_in_where_others_are_missing(people: list[TruePerson], tmp_path: Path) -> None:
    made = made_of(people, "spin")
    made["part"][0, :, 2] = 0
    made["openpose"] = np.full((COUNT, 25, 3), 50.0)
    pixels = vector(rows_of(reader(written(tmp_path, made), "spin")), "pixels").reshape(-1, 29, 2)
    limbs = [4, 5, 7, 8, 16, 17, 18, 19, 20, 21]
    assert (pixels[0, limbs] == 50).all()
    assert np.isnan(np.delete(pixels[0], limbs, 0)).all()
    np.testing.assert_allclose(pixels[1, limbs], people[1].pixels[limbs], atol=1e-3)


def test_people_of_spin_whose_body_is_not_known(people: list[TruePerson], tmp_path: Path) -> None:
    made = made_of(people, "spin") | {"has_smpl": np.array([1, 0, 1, 1, 1, 1]), "S": None}
    made["pose"][1] = np.nan
    rows = rows_of(reader(written(tmp_path, made), "spin"))
    assert [row["reason"] for row in rows] == [None] * COUNT
    assert [row["body_model"] for row in rows] == ["smpl", None, "smpl", "smpl", "smpl", "smpl"]
    assert [row["label_kind"] for row in rows] == ["gt", None, "gt", "gt", "gt", "gt"]
    few = made_of(people, "hmr2")
    few["has_betas"][2] = 0
    few["extra_keypoints_3d"][3, :, 3] = 0
    rows = rows_of(reader(written(tmp_path / "b", few), "hmr2"))
    assert [row["body_model"] for row in rows] == ["smpl", "smpl", None, "smpl", "smpl", "smpl"]
    assert [row["joints"] is None for row in rows] == [True, True, False, True, True, True]
    assert rows[3]["human36m"] is None


@pytest.mark.parametrize("kind", ["smplx", "smpl"])
def test_bedlam(people: list[TruePerson], tmp_path: Path, kind: str) -> None:
    found = reader(written(tmp_path, made_of(people, kind)), kind)
    rows = rows_of(found)
    assert [row["reason"] for row in rows] == [None] * COUNT
    for name in ("global_orient", "betas", "transl"):
        np.testing.assert_allclose(vector(rows, name), [getattr(one.label, name) for one in people], atol=1e-6)
    pose = np.stack([person.label.body_pose for person in people])
    pose[:, 63:] *= kind == "smpl"
    np.testing.assert_allclose(vector(rows, "body_pose"), pose, atol=1e-6)
    cameras = np.stack([vector(rows, name) for name in ("fx", "fy", "cx", "cy")], 1)
    np.testing.assert_allclose(cameras, [person.intrinsics for person in people], atol=1e-6)
    pixels = vector(rows, "pixels").reshape(-1, 29, 2)[:, :15]
    np.testing.assert_allclose(pixels, [person.pixels[:15] for person in people], atol=1e-3)
    assert {(row["gender"], row["width_px"], row["box_per_joints"]) for row in rows} == {("neutral", None, None)}
    assert {row["hands_absolute"] for row in rows} == {True if kind == "smplx" else None}
    survey = found.survey()
    assert (survey.facts["body"], survey.facts["place"]) == (kind, "trans_cam + cam_ext")
    said = remarks_of(found)
    assert "11 numbers; 10 are taken and the rest is CUT, all 0" in said
    assert "parameters for those of the neutral body" in said
    own = rows_of(reader(tmp_path / "own.npz", kind, gendered="true"))
    assert [row["gender"] for row in own] == ["female", "male"] * 3


def test_a_scene_of_bedlam_has_its_folder_and_a_close_up_its_size(people: list[TruePerson], tmp_path: Path) -> None:
    source = bedlam.write_bedlam(people, tmp_path, scenes=2)
    found = reader_of(source, tmp_path / "work")
    rows = rows_of(found)
    assert all((tmp_path / "images" / row["path"]).is_file() for row in rows)
    assert len({row["path"].split("/")[0] for row in rows}) == 2
    assert [row["row"] for row in rows] == list(range(COUNT))
    assert len(found.survey().files) == 2
    made = made_of(people, "smplx")
    made["cam_int"][0, :2, 2] = [360, 640]
    made["cam_int"][1, :2, 2] = [640, 360]
    rows = rows_of(reader(written(tmp_path / "b", made), "smplx"))
    assert [(row["width_px"], row["height_px"]) for row in rows[:3]] == [(720, 1280), (1280, 720), (None, None)]


@pytest.mark.parametrize("kind", ["spin", "hmr2", "smplx", "smpl"])
def test_they_are_known_by_their_members(people: list[TruePerson], tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, made_of(people, kind))
    name = "spin-npz" if kind in ("spin", "hmr2") else "bedlam"
    assert [each.format for each in recognise(str(path)).candidates] == [name]
    assert [each.format for each in recognise(str(tmp_path / "*.npz")).candidates] == [name]
    assert next(each.format for each in recognise(str(tmp_path)).candidates) == name


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("spin", {"imgname": None}, r"own\.npz lacks imgname; it holds .*--format spin-npz"),
        ("spin", {"imgname": np.arange(COUNT)}, "imgname: texts are expected"),
        ("spin", {"pose": np.zeros((COUNT, 71))}, r"72 numbers are expected for each person, not 71"),
        ("spin", {"shape": np.zeros((COUNT, 9))}, "10 or more numbers are expected"),
        ("spin", {"center": np.zeros((COUNT + 1, 2))}, "center has 7 rows, but imgname 6"),
        ("spin", {"scale": np.zeros((COUNT, 3))}, "1 or 2 numbers are expected"),
        ("spin", {"gender": np.zeros(COUNT)}, "gender: texts are expected"),
        ("smplx", {"cam_int": None}, "lacks cam_int"),
        ("smplx", {"pose_cam": np.zeros((COUNT, 63))}, "72 or 66 or 165 numbers"),
    ],
)
def test_what_makes_a_file_unusable_is_said(
    people: list[TruePerson], tmp_path: Path, kind: str, changes: dict[str, Any], words: str
) -> None:
    path = written(tmp_path, made_of(people, kind) | changes)
    with pytest.raises(DataError, match=words):
        reader(path, kind).survey()


def test_options_that_mean_nothing_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"label_kind of spin-npz is one of gt, pseudo, not 'guess'"):
        reader(tmp_path / "own.npz", "spin", label_kind="guess")
    with pytest.raises(DataError, match=r"gendered of bedlam is true or false, not 'perhaps'"):
        reader(tmp_path / "own.npz", "smplx", gendered="perhaps")


def test_key_points_of_unknown_counts_are_left_out_and_said(people: list[TruePerson], tmp_path: Path) -> None:
    found = reader(written(tmp_path, made_of(people, "spin") | {"part": np.ones((COUNT, 17, 3))}), "spin")
    assert {row["pixels"] for row in rows_of(found)} == {None}
    assert "part has the shape (6, 17, 3), where (rows, 19 or 24, 3) is known: these key-points are NOT read" in (
        remarks_of(found)
    )
    made = made_of(people, "smplx") | {"more": np.zeros(COUNT)}
    assert "members that are not used: more." in remarks_of(reader(written(tmp_path, made), "smplx"))


def test_bad_rows_end_alone_with_their_reason(people: list[TruePerson], tmp_path: Path) -> None:
    made = made_of(people, "spin")
    made["pose"][0, 7] = np.nan
    made["center"][1, 0] = np.inf
    made["scale"][2] = 0
    made["gender"] = np.array(["n", "n", "n", "x", "n", "n"])
    made["part"][4, 3, 0] = np.nan
    made["S"][5, 3, 1] = np.inf
    made["part"][5, 12:, :] = [np.nan, np.nan, 0]
    rows = rows_of(reader(written(tmp_path, made), "spin"))
    assert [row["reason"] for row in rows] == [
        *("not finite", "not finite", "box without area", "row not readable", "not finite", "not finite"),
    ]
    wanted = ["pose", "center", "scale", "gender", "2D key-points", "3D joints"]
    assert [row["detail"].partition(":")[0] for row in rows] == wanted
    assert [row["path"] for row in rows] == PATHS


@pytest.mark.parametrize("seed", range(60))
def test_no_mutation_gets_past_data_errors_and_no_row_is_lost(
    people: list[TruePerson], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    kind = chance.choice(["spin", "hmr2", "smplx", "smpl"])
    made = made_of(people, kind)
    before = made["imgname"]
    for _ in range(chance.randint(1, 3)):
        made[chance.choice(sorted(made))] = copy.deepcopy(chance.choice(ODD))
    data = bytearray(saved(**{key: _as_saved(value) for key, value in made.items()}))
    if chance.random() < 0.4:
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.1:
        data = data[: chance.randrange(len(data))]
    (tmp_path / "own.npz").write_bytes(data)
    try:
        found = reader(tmp_path / "own.npz", kind)
        rows = rows_of(found)
        survey = found.survey()
    except DataError:
        return
    assert [row["row"] for row in rows] == list(range(len(rows)))
    assert len(rows) == survey.rows
    assert all(row["reason"] is None or row["detail"] for row in rows)
    if made["imgname"] is before:
        assert len(rows) == COUNT
