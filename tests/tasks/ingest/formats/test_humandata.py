"""HumanData: every flavour agrees with the truth that it was written from, bad rows stay alone, hostile files end."""

import copy
import io
import random
import shutil
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from schemas.errors import DataError, EngineError
from tasks.ingest.formats.humandata.reader import HumanData
from tasks.ingest.people.annotations import ANNOTATIONS, AnnotationSource
from tasks.ingest.people.keypoints import HUMAN36M, HUMAN_DATA, places
from tests.models.hostile import Hostile
from tests.models.pickles import calling
from tests.samples.humandata import hands, members, write_humandata
from tests.samples.truth import TruePerson, true_people
from tests.tasks.ingest.npz_files import archive, pickled, saved

COUNT = 6


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(COUNT)


def reader(path: Path, images: str | None = None, dataset: str = "own", **options: Any) -> HumanData:
    source = AnnotationSource("humandata", str(path), dataset, "train", images, options=options)
    return HumanData(source, path.parent / "work")


def rows_of(found: HumanData) -> list[dict[str, Any]]:
    rows = []
    for part in found.batches():
        assert part.schema == ANNOTATIONS
        rows += part.to_pylist()
    return rows


def vector(rows: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], np.float64)


def file_of(people: list[TruePerson], folder: Path, name: str = "own.npz", body: str = "smpl", **changes: Any) -> Path:
    """A file without pictures, with members changed; None takes a member away."""
    made = members(people, [f"{person.index}.jpg" for person in people], body, True, True) | changes
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(saved(**{key: value for key, value in made.items() if value is not None}))
    return folder / name


def body_of(people: list[TruePerson], body: str = "smpl", **changes: Any) -> dict[str, Any]:
    made = members(people, ["a"] * len(people), body, True, True)[body] | changes
    return {key: value for key, value in made.items() if value is not None}


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("body", ["smpl", "smplx", "smplh"])
def test_bodies_agree_with_the_truth(people: list[TruePerson], tmp_path: Path, body: str, compressed: bool) -> None:
    source = write_humandata(people, tmp_path, body=body, compressed=compressed)
    found = HumanData(source, tmp_path / "work")
    rows = rows_of(found)
    assert [row["reason"] for row in rows] == [None] * COUNT
    assert [row["path"] for row in rows] == [f"images/{person.index:06d}.jpg" for person in people]
    assert all((tmp_path / row["path"]).is_file() for row in rows)
    assert {row["body_model"] for row in rows} == {"smplx" if body == "smplx" else "smpl"}
    assert {(row["label_kind"], row["gender"], row["crop_rule"], row["crop_scale"]) for row in rows} == {
        ("gt", "neutral", "joints", 1.25)
    }
    for name in ("global_orient", "betas", "transl"):
        np.testing.assert_allclose(vector(rows, name), [getattr(person.label, name) for person in people], atol=1e-6)
    pose = np.stack([person.label.body_pose for person in people])
    if body != "smpl":
        pose[:, 63:] = 0
    np.testing.assert_allclose(vector(rows, "body_pose"), pose, atol=1e-6)
    np.testing.assert_allclose(vector(rows, "pixels").reshape(-1, 29, 2), [one.pixels for one in people], atol=0.01)
    np.testing.assert_allclose(vector(rows, "box"), [person.box for person in people], atol=0.01)
    cameras = np.stack([vector(rows, name) for name in ("fx", "fy", "cx", "cy")], 1)
    np.testing.assert_allclose(cameras, [person.intrinsics for person in people], atol=1e-3)
    assert [(row["width_px"], row["height_px"]) for row in rows] == [(one.width, one.height) for one in people]
    if body == "smplx":
        for side, name in enumerate(("left_hand_pose", "right_hand_pose")):
            np.testing.assert_allclose(vector(rows, name), [hands(one)[side].reshape(45) for one in people], atol=1e-6)
        assert {row["hands_absolute"] for row in rows} == {False}
    joints = vector(rows, "joints").reshape(-1, 29, 3)  # to compare the posed body with
    np.testing.assert_allclose(joints, [person.label.joints for person in people], atol=1e-5)
    assert {row["joints_by"] for row in rows} == {"names" if body == "smplh" else "model"}
    survey = found.survey()
    assert survey.rows == COUNT
    assert survey.images == str(tmp_path)
    assert survey.facts["body"] == f"{body}, betas as given"


@pytest.mark.parametrize("per_metre", [1.0, 1000.0])
def test_key_points_alone_are_joints_by_name_in_metres(
    people: list[TruePerson], tmp_path: Path, per_metre: float
) -> None:
    source = write_humandata(people, tmp_path, body="none", meta=False, per_metre=per_metre)
    found = HumanData(source, tmp_path / "work")
    rows = rows_of(found)
    joints = np.stack([person.label.joints for person in people])
    np.testing.assert_allclose(vector(rows, "joints").reshape(-1, 29, 3), joints, atol=1e-4)
    assert {(row["joints_by"], row["body_model"], row["fx"], row["reason"]) for row in rows} == {
        ("names", None, None, None)
    }
    # right hip, right knee, right ankle come first; the nearest joints stand for the others
    legs = vector(rows, "human36m").reshape(-1, 17, 3)[:, :7]
    np.testing.assert_allclose(legs, joints[:, [0, 2, 5, 8, 1, 4, 7]], atol=1e-4)
    assert found.survey().facts["unit"].startswith("metres" if per_metre == 1 else "millimetres")


def test_points_that_the_file_does_not_give_are_nan(people: list[TruePerson], tmp_path: Path) -> None:
    made = members(people, ["a.jpg"] * COUNT, "none", False, False)
    hip = places(HUMAN_DATA, HUMAN36M)[1]
    made["keypoints3d_mask"][hip] = 0
    made["keypoints3d"][:, hip] = np.nan  # what the mask calls invalid may hold anything
    made["keypoints2d"][2, 0, 2] = 0
    path = file_of(people, tmp_path, body="none", **made)
    rows = rows_of(reader(path))
    assert [row["reason"] for row in rows] == [None] * COUNT
    assert np.isnan(vector(rows, "human36m").reshape(-1, 17, 3)[:, 1]).all()
    assert np.isfinite(vector(rows, "human36m").reshape(-1, 17, 3)[:, 2:]).all()
    assert np.isnan(vector(rows, "pixels")[:, :2]).all(1).tolist() == [False, False, True, False, False, False]


def test_the_first_key_points_that_are_there_win(people: list[TruePerson], tmp_path: Path) -> None:
    other = np.full((COUNT, 190, 3), 5.0)
    points = {"keypoints2d": other, "keypoints2d_mask": np.ones(190), "keypoints2d_original": other + 1}
    path = file_of(people, tmp_path, bbox_xywh=np.full((COUNT, 5), 4.0), **points)
    found = reader(path)
    assert (vector(rows_of(found), "pixels") == 5).all()
    unused = next(remark for remark in found.survey().remarks if "not used" in remark)
    assert "keypoints2d_smpl" in unused
    assert "keypoints2d_original" in unused


def test_bad_rows_end_alone_with_their_reason(people: list[TruePerson], tmp_path: Path) -> None:
    made = members(people, ["a.jpg"] * COUNT, "smpl", True, True)
    made["keypoints3d_smpl"][0, 3, 1] = np.nan
    made["bbox_xywh"][1, 2] = np.inf
    made["smpl"]["body_pose"][2, 5, 1] = np.nan
    made["meta"]["height"][3] = "tall"
    made["smpl"]["gender"] = ["neutral", "m", None, "FEMALE", "unknown", "f"]
    made["meta"]["focal_length"] = [[100, 100]] * 5 + [[100]]
    rows = rows_of(reader(file_of(people, tmp_path, **made)))
    assert [row["row"] for row in rows] == list(range(COUNT))
    assert [row["reason"] for row in rows] == ["not finite"] * 3 + ["row not readable"] * 3
    wanted = ["keypoints3d_smpl", "bbox_xywh", "smpl[body_pose]", "meta[height]", "gender", "meta[focal_length]"]
    assert [row["detail"].partition(":")[0] for row in rows] == wanted
    assert rows[3]["detail"] == "meta[height]: a number expected, not 'tall'"
    assert {row["path"] for row in rows} == {"a.jpg"}


def test_a_row_with_other_key_points_is_its_own_failure(people: list[TruePerson], tmp_path: Path) -> None:
    made = members(people, ["a.jpg"] * COUNT, "none", True, False)
    ragged = list(made["keypoints2d"])
    ragged[4] = ragged[4][:-1]
    held = np.empty(COUNT, object)
    held[:] = ragged
    rows = rows_of(reader(file_of(people, tmp_path, body="none", **{**made, "keypoints2d": held})))
    assert [row["reason"] for row in rows] == [None, None, None, None, "key-point count", None]
    paths = np.array(["a.jpg", None, "b.jpg", 7, "c.jpg", "d.jpg"], object)
    rows = rows_of(reader(file_of(people, tmp_path, "paths.npz", image_path=paths)))
    assert [row["reason"] for row in rows] == [None, "row not readable", None, "row not readable", None, None]


def test_betas_of_the_neutral_body_and_of_the_published_reading(people: list[TruePerson], tmp_path: Path) -> None:
    neutral = np.full((COUNT, 16), 0.5)
    body = body_of(people, betas_neutral=neutral, gender=["male"] * COUNT)
    path = file_of(people, tmp_path, smpl=body)
    rows = rows_of(reader(path))
    assert (vector(rows, "betas") == 0.5).all()
    assert {row["gender"] for row in rows} == {"neutral"}
    rows = rows_of(reader(path, gendered="true"))
    np.testing.assert_allclose(vector(rows, "betas"), [person.label.betas for person in people], atol=1e-6)
    assert {row["gender"] for row in rows} == {"male"}
    found = reader(path, zero_betas=True)
    assert not vector(rows_of(found), "betas").any()
    assert found.survey().facts["body"] == "smpl, betas zero"
    x = file_of(people, tmp_path, "x.npz", "smplx")
    assert vector(rows_of(reader(x, zero_betas=True)), "betas").any()


def remarks_of(found: HumanData) -> str:
    return " ".join(found.survey().remarks)


@pytest.mark.parametrize(("count", "rest"), [(11, 1.5), (16, 0.0), (300, 0.25)])
def test_betas_beyond_ten_are_cut_and_said(people: list[TruePerson], tmp_path: Path, count: int, rest: float) -> None:
    betas = np.concatenate([body_of(people)["betas"], np.full((COUNT, count - 10), -rest)], 1)
    found = reader(file_of(people, tmp_path, smpl=body_of(people, betas=betas)))
    np.testing.assert_allclose(vector(rows_of(found), "betas"), betas[:, :10], atol=1e-6)
    said = remarks_of(found)
    assert f"smpl[betas] has {count} numbers a person; the first 10 are taken and {count - 10} are CUT" in said
    assert (f"6 have others than 0 there, up to {rest:g}" in said) == (rest > 0)
    assert ("nothing is lost" in said) == (rest == 0)
    assert "CUT" not in remarks_of(reader(file_of(people, tmp_path)))


@pytest.mark.parametrize(
    ("count", "words"), [(50, "the first 10 are taken and 40 are CUT"), (5, "has 5 numbers a person")]
)
def test_faces_of_any_length_are_read(people: list[TruePerson], tmp_path: Path, count: int, words: str) -> None:
    face = np.random.default_rng(0).normal(size=(COUNT, count)).astype(np.float32)
    found = reader(file_of(people, tmp_path, body="smplx", smplx=body_of(people, "smplx", expression=face)))
    expected = np.pad(face[:, :10], ((0, 0), (0, max(0, 10 - count))))
    np.testing.assert_array_equal(vector(rows_of(found), "expression"), expected)
    assert words in remarks_of(found)


@pytest.mark.parametrize("count", [6, 12, 24, 90])
def test_hands_of_other_lengths_are_components_or_leave_the_body(
    people: list[TruePerson], tmp_path: Path, count: int
) -> None:
    hands = np.random.default_rng(0).normal(size=(2, COUNT, count)).astype(np.float32)
    body = body_of(people, "smplx", left_hand_pose=hands[0], right_hand_pose=hands[1])
    found = reader(file_of(people, tmp_path, body="smplx", smplx=body))
    rows = rows_of(found)
    assert [row["reason"] for row in rows] == [None] * COUNT
    assert {row[f"{side}_hand_pose"] for row in rows for side in ("left", "right")} == {None}
    assert all(row["body_pose"] is not None for row in rows)
    for side, given in zip(("left", "right"), hands, strict=True):
        components = [row[f"{side}_hand_pca"] for row in rows]
        assert components == (given.tolist() if count < 45 else [None] * COUNT)
    said = remarks_of(found)
    assert f"smplx[left_hand_pose] has {count} numbers a hand" in said
    assert ("first components of the body file's hand PCA" in said) == (count < 45)
    assert ("NOT read" in said) == (count > 45)


@pytest.mark.parametrize("body", ["smpl", "smplx"])
def test_rotation_matrices_are_rotations(people: list[TruePerson], tmp_path: Path, body: str) -> None:
    given = body_of(people, body)
    names = [name for name in given if name.endswith(("_pose", "_orient"))]

    def matrices(values: NDArray[Any]) -> NDArray[Any]:
        turns = Rotation.from_rotvec(values.reshape(-1, 3).astype(np.float64)).as_matrix()
        return turns.reshape(COUNT, -1, 3, 3)

    plain = rows_of(reader(file_of(people, tmp_path, body=body)))
    changed = given | {name: matrices(given[name]) for name in names}
    changed["body_pose"][2, 4] *= 1.5
    changed["global_orient"][3] *= -1
    found = reader(file_of(people, tmp_path, "matrices.npz", body, **{body: changed}))
    rows = rows_of(found)
    assert [row["reason"] for row in rows] == [None, None, "impossible pose", "impossible pose", None, None]
    assert rows[2]["detail"] == f"{body}[body_pose]: matrix 4 is no rotation"
    for row, expected in zip(rows, plain, strict=True):
        for name in names if row["reason"] is None else []:
            difference = Rotation.from_rotvec(np.reshape(row[name], (-1, 3))) * (
                Rotation.from_rotvec(np.reshape(expected[name], (-1, 3))).inv()
            )
            assert difference.magnitude().max() < 1e-5
    assert "rotation matrices" in remarks_of(found)
    six = body_of(people, body, global_orient=np.ones((COUNT, 6)))
    with pytest.raises(DataError, match="look like 6D rotations"):
        rows_of(reader(file_of(people, tmp_path, "six.npz", body, **{body: six})))


def test_what_is_given_once_holds_for_all_and_is_said(people: list[TruePerson], tmp_path: Path) -> None:
    camera = {"focal_length": np.array([500.0, 501.0]), "principal_point": [60.0, 61.0], "height": 128}
    meta = members(people, ["a"] * COUNT, "smpl", True, True)["meta"] | camera
    for betas in (np.full((1, 10), 0.5), np.full(10, 0.5)):
        found = reader(file_of(people, tmp_path, smpl=body_of(people, betas=betas), meta=meta))
        rows = rows_of(found)
        assert (vector(rows, "betas") == 0.5).all()
        assert {(row["fx"], row["fy"], row["cx"], row["cy"]) for row in rows} == {(500.0, 501.0, 60.0, 61.0)}
        once = "meta[height], meta[focal_length], meta[principal_point], smpl[betas]"
        assert f"own.npz: given once, for all 6 people: {once}." in found.survey().remarks
    assert "given once" not in remarks_of(reader(file_of(people, tmp_path)))
    # of two people, two focal lengths are one each
    two = people[:2]
    meta = members(two, ["a"] * 2, "smpl", True, True)["meta"] | {"focal_length": [500.0, 600.0]}
    assert [row["fx"] for row in rows_of(reader(file_of(two, tmp_path, meta=meta)))] == [500.0, 600.0]


def test_without_transl_the_pelvis_of_its_own_joints_places_a_body(people: list[TruePerson], tmp_path: Path) -> None:
    smpl = body_of(people, transl=None)
    found = reader(file_of(people, tmp_path, smpl=smpl))
    rows = rows_of(found)
    roots = [person.label.joints[0] for person in people]
    np.testing.assert_allclose(vector(rows, "root"), roots, atol=1e-6)
    assert "bodies are where the pelvis" in remarks_of(found)
    points = members(people, ["a"] * COUNT, "smpl", True, True)["keypoints3d_smpl"]
    relative = points.copy()
    relative[..., :3] -= points[:, :1, :3]
    none = {"keypoints3d_smpl": None, "keypoints3d_smpl_mask": None}
    boxes = {"keypoints2d_smpl": None, "keypoints2d_smpl_mask": None}
    for changes, seen in (
        ({"keypoints3d_smpl": relative}, "2D key-points"),
        (none, "2D key-points"),
        (boxes | none, "box"),
    ):
        path = file_of(people, tmp_path, smpl=smpl, **changes)
        found = reader(path)
        assert {(row["root"], row["box_per_joints"]) for row in rows_of(found)} == {(None, 1.2)}
        said = remarks_of(found)
        assert f"nothing says where people are. Each is put where the label fits its {seen} best" in said
        found = reader(path, place="refused")
        assert {(row["root"], row["box_per_joints"]) for row in rows_of(found)} == {(None, None)}
        assert "nothing says how far away the person is" in remarks_of(found)
    whole = {(row["root"], row["box_per_joints"]) for row in rows_of(reader(file_of(people, tmp_path)))}
    assert whole == {(None, None)}, "where transl and camera say it"


def test_what_changes_nothing_is_no_new_source(people: list[TruePerson], tmp_path: Path) -> None:
    """Finished ingests of files that say all stay; the others are read again."""
    assert reader(file_of(people, tmp_path)).survey().others is None
    assert reader(file_of(people, tmp_path, body="none")).survey().others is None
    smpl = body_of(people, transl=None)
    assert reader(file_of(people, tmp_path, smpl=smpl)).survey().others is None, "the pelvis says it"
    for changes in ({"meta": None}, {"smpl": smpl, "keypoints3d_smpl": None}):
        path = file_of(people, tmp_path, **changes)
        assert reader(path).survey().others is not None
        assert reader(path, place="refused").survey().others is None


@pytest.mark.parametrize(
    ("options", "by", "relative"),
    [({}, "model", False), ({"keypoints3d": "root"}, "model", True), ({"zero_betas": "true"}, "names", False)],
)
def test_how_joints_beside_a_body_are_compared(
    people: list[TruePerson], tmp_path: Path, options: dict[str, str], by: str, relative: bool
) -> None:
    found = reader(file_of(people, tmp_path), **options)
    rows = rows_of(found)
    assert {row["joints_by"] for row in rows} == {by}
    assert all((np.linalg.norm(row["joints"][:3]) < 1e-6) == relative for row in rows)
    assert ("from the root on" in found.survey().facts["compared with bodies"]) == relative
    assert {row["human36m"] for row in rows} == {None}


def test_joints_that_are_not_to_be_compared(people: list[TruePerson], tmp_path: Path) -> None:
    path = file_of(people, tmp_path)
    found = reader(path, keypoints3d="unused")
    assert {row["joints"] for row in rows_of(found)} == {None}
    assert found.survey().facts["compared with bodies"] == "no 3D key-points"
    with pytest.raises(DataError, match="one of camera, root, unused"):
        reader(path, keypoints3d="world")
    # in no unit at all, it is the rows that disagree with their bodies, and not the file that is refused
    points = members(people, ["a"] * COUNT, "smpl", True, True, per_metre=100.0)["keypoints3d_smpl"]
    found = reader(file_of(people, tmp_path, keypoints3d_smpl=points))
    assert [row["reason"] for row in rows_of(found)] == [None] * COUNT
    assert "compared with the bodies as if they were metres" in remarks_of(found)


def test_boxes_that_are_corners_or_elsewhere(people: list[TruePerson], tmp_path: Path) -> None:
    boxes = members(people, ["a"] * COUNT, "smpl", True, True)["bbox_xywh"]
    corners = boxes.copy()
    corners[:, 2:4] += corners[:, :2]
    found = reader(file_of(people, tmp_path, bbox_xywh=corners))
    assert {row["reason"] for row in rows_of(found)} == {"box looks like corners"}
    assert "most of bbox_xywh look like corners" in remarks_of(found)
    none = {"keypoints2d_smpl": None, "keypoints2d_smpl_mask": None}
    found = reader(file_of(people, tmp_path, bbox_xywh=corners, **none))  # by the sizes of pictures
    assert {row["reason"] for row in rows_of(found)} == {"box looks like corners"}
    boxes[2, :4] = [1, 1, 14, 14]
    rows = rows_of(reader(file_of(people, tmp_path, bbox_xywh=boxes)))
    assert [row["reason"] for row in rows] == [None, None, "box disagrees", None, None, None]


def test_containers_and_texts_of_other_makers(people: list[TruePerson], tmp_path: Path) -> None:
    made = members(people, ["a"] * COUNT, "smpl", True, True)
    paths = np.empty(COUNT, object)
    paths[:] = [np.str_(f"{number}.jpg") for number in range(COUNT)]
    meta, smpl = OrderedDict(made["meta"]), defaultdict(list, made["smpl"])
    rows = rows_of(reader(file_of(people, tmp_path, image_path=paths, meta=meta, smpl=smpl)))
    assert [row["path"] for row in rows] == [f"{number}.jpg" for number in range(COUNT)]
    plain = rows_of(reader(file_of(people, tmp_path)))
    assert [row["betas"] for row in rows] == [row["betas"] for row in plain]
    assert [row["fx"] for row in rows] == [row["fx"] for row in plain]
    each = np.empty(COUNT, object)
    each[:] = [{name: values[row] for name, values in made["smpl"].items()} for row in range(COUNT)]
    with pytest.raises(DataError, match="smpl: it holds 6 dictionaries, one for each person"):
        rows_of(reader(file_of(people, tmp_path, smpl=each)))


@pytest.mark.parametrize(
    ("name", "body", "variant", "expected"),
    [
        ("hi4d_train_240205_098.npz", "smpl", "HI4D", {"width_px": 940, "height_px": 1280}),
        ("bedlam_train.npz", "smplx", "BEDLAM", {"hands_absolute": True, "width_px": None}),
        ("renbody_train_highrescam_230517_399_0_fix_betas.npz", "smplx", "RenBody", {"joints": None}),
        (
            "gta_human2multiple_230406_04000_0.npz",
            "smplx",
            "GTA-Human II",
            {"width_px": 1920, "height_px": 1080, "fx": 1158.0337, "cx": 960.0, "cy": 540.0},
        ),
        ("spec_test_smpl.npz", "smpl", "SPEC", {"width_px": 1920, "height_px": 1080, "fx": None}),
        (
            "insta_variety_neural_annot_train.npz",
            "smpl",
            "InstaVariety",
            {"width_px": 224, "height_px": 224, "crop_scale": 1.0, "label_kind": "pseudo"},
        ),
        ("chi3d_train.npz", "smplx", "CHI3D", {"hands_absolute": False, "width_px": None}),
        ("inspection.npz", "smpl", None, {"width_px": None, "crop_scale": 1.25}),
    ],
)
def test_each_data_set_is_known_by_its_file(
    people: list[TruePerson], tmp_path: Path, name: str, body: str, variant: str | None, expected: dict[str, Any]
) -> None:
    path = file_of(people, tmp_path, name, body, meta=None)
    found = reader(path)
    survey = found.survey()
    assert survey.format == (f"humandata ({variant})" if variant else "humandata")
    assert any(str(variant) in remark for remark in survey.remarks) == (variant is not None)
    for row in rows_of(found):
        assert {key: row[key] for key in expected} == expected
    # said by hand, the name doesn't matter
    assert reader(path, variant="plain").survey().format == "humandata"
    if variant:
        moved = shutil.copy(path, tmp_path / "other.npz")
        assert reader(Path(moved), variant=variant.lower().replace(" ", "-")).survey().format == survey.format


def test_the_files_own_sizes_win_and_a_difference_is_said(people: list[TruePerson], tmp_path: Path) -> None:
    path = file_of(people, tmp_path, "hi4d_train.npz")
    found = reader(path)
    assert [row["width_px"] for row in rows_of(found)] == [person.width for person in people]
    assert any("published as 940 x 1280" in remark for remark in found.survey().remarks)
    forced = reader(path, image_size="940x1280")
    assert {(row["width_px"], row["height_px"]) for row in rows_of(forced)} == {(940, 1280)}


def test_several_files_are_one_source(people: list[TruePerson], tmp_path: Path) -> None:
    one = file_of(people[:2], tmp_path, "renbody_0.npz", "smplx")
    two = file_of(people[2:], tmp_path, "renbody_1.npz", "smplx")
    for url in (f"{one},{two}", str(tmp_path / "renbody_*.npz")):
        found = HumanData(AnnotationSource("humandata", url, "dna", "train"), tmp_path / "work")
        rows = rows_of(found)
        assert [row["path"] for row in rows] == [f"{person.index}.jpg" for person in people]
        assert [row["row"] for row in rows] == [row["counts_as"] for row in rows] == list(range(COUNT))
        assert rows[2]["origin"] == "renbody_1.npz, row 0"
        assert found.survey().rows == COUNT
        assert list(found.survey().files) == [str(one), str(two)]
    away = shutil.copy(two, (tmp_path / "work") / "two.npz")
    with pytest.raises(DataError, match="several folders"):
        HumanData(AnnotationSource("humandata", f"{one},{away}", "dna", "train"), tmp_path / "work").survey()


def test_a_file_behind_a_url(people: list[TruePerson], tmp_path: Path) -> None:
    path = file_of(people, tmp_path)
    with fsspec.filesystem("memory").open("/bucket/own.npz", "wb") as file:
        file.write(path.read_bytes())
    found = HumanData(AnnotationSource("humandata", "memory://bucket/own.npz", "own", "train"), tmp_path / "work")
    assert len(rows_of(found)) == COUNT
    assert found.survey().images == "memory://bucket"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_path": None}, r"own\.npz lacks image_path.*it holds .*bbox_xywh"),
        ({"bbox_xywh": np.zeros((COUNT, 3))}, "bbox_xywh: 4 numbers or more"),
        ({"bbox_xywh": np.zeros((COUNT + 1, 5))}, "bbox_xywh has 7 rows, but image_path 6"),
        ({"image_path": np.arange(COUNT)}, "image_path: texts are expected"),
        ({"smpl": np.zeros((COUNT, 72))}, "smpl: a dictionary"),
        ({"smpl": {"betas": np.zeros((COUNT, 10))}}, "lacks global_orient"),
        ({"meta": {"height": [1, 2]}}, r"meta\[height\]: has 2 rows where the file has 6"),
        ({"meta": {"height": {"a": 1}}}, r"meta\[height\]"),
        ({"keypoints2d_smpl": np.zeros((COUNT, 17, 3))}, "has 17 key-points, where its mask has 36 of 190"),
        ({"keypoints2d": np.zeros((COUNT, 17, 3))}, "no keypoints2d_mask"),
        ({"keypoints3d_smpl": np.zeros((COUNT, 36))}, "is expected, with 3 coordinates"),
        ({"keypoints2d_smpl_mask": np.array(["a"] * 190)}, "190 zeros and ones"),
    ],
)
def test_what_makes_a_file_unusable_is_said(
    people: list[TruePerson], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = file_of(people, tmp_path, **changes)
    for look in (HumanData.survey, rows_of):
        with pytest.raises(DataError, match=words):
            look(reader(path))


def test_lengths_in_the_wrong_unit_are_one_message(people: list[TruePerson], tmp_path: Path) -> None:
    far = file_of(people, tmp_path, smpl=body_of(people, transl=body_of(people)["transl"] * 1000))
    with pytest.raises(DataError, match=r"smpl\[transl\].*millimetres to metres"):
        rows_of(reader(far))
    made = members(people, ["a"] * COUNT, "none", True, False, per_metre=100.0)
    with pytest.raises(DataError, match=r"own\.npz, keypoints3d: .*Convert"):
        rows_of(reader(file_of(people, tmp_path, body="none", **made)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "3DPW"}, "no variant of HumanData '3dpw'; there are plain, hi4d, bedlam"),
        ({"zero_betas": "perhaps"}, "true or false"),
        ({"body": "mano"}, "one of smplx, smpl, smplh"),
        ({"image_size": "large"}, "WIDTHxHEIGHT"),
    ],
)
def test_options_that_mean_nothing_are_said(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        reader(tmp_path / "own.npz", **options)


def test_hostile_pickles_are_refused_by_name_and_not_run(people: list[TruePerson], tmp_path: Path) -> None:
    target = tmp_path / "was here"
    for changes in ({"smpl": {"betas": Hostile(target)}}, {"image_path": np.array([Hostile(target)] * COUNT, object)}):
        with pytest.raises(DataError, match=r"own\.npz, member \w+ asks for \w+\.system"):
            rows_of(reader(file_of(people, tmp_path, **changes)))
    assert not target.exists()
    whole = members(people, ["a"] * COUNT, "none", True, False)
    plain = {f"{key}.npy": value for key, value in _npy_members(whole).items()}
    path = archive(tmp_path / "evil.npz", plain | {"meta.npy": pickled(calling("builtins", "exec", "1"))})
    with pytest.raises(DataError, match=r"builtins\.exec"):
        reader(path).survey()


def _npy_members(arrays: dict[str, Any]) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(saved(**arrays))) as file:
        return {name.removesuffix(".npy"): file.read(name) for name in file.namelist()}


ODD: list[Any] = [
    *(None, "text", 7, -1.5, 10**400, float("nan"), [], {}, [[]], [None] * COUNT, ["x"] * COUNT, [1, 2, 3]),
    *(np.zeros(0), np.zeros((COUNT, 0)), np.full((COUNT, 3), 1e300), np.full((COUNT, 63), np.nan), np.zeros((2, 2, 2))),
    *([[1], [2, 3], "a", None, {}, 4], {"a": {"b": {"c": [1]}}}, np.array([None] * COUNT), np.zeros(COUNT, "c16")),
    *([[[[[[[[[[[[[[1]]]]]]]]]]]]]], np.array(["\ud800"] * COUNT), np.full((COUNT, 190, 4), np.inf), True, b"\xff"),
    np.arange(COUNT * 5).reshape(COUNT, 5).astype(object),
]


@pytest.mark.parametrize("seed", range(60))
def test_no_mutation_gets_past_data_errors_and_no_row_is_lost(
    people: list[TruePerson], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    body = chance.choice(["smpl", "smplx", "none"])
    made = members(people, [f"{number}.jpg" for number in range(COUNT)], body, chance.random() < 0.5, True)
    before = made["image_path"]
    for _ in range(chance.randint(1, 3)):
        held = chance.choice([one for one in (made, made.get("meta"), made.get(body)) if isinstance(one, dict) and one])
        held[chance.choice(sorted(held))] = copy.deepcopy(chance.choice(ODD))
    data = bytearray(saved(**{key: _as_saved(value) for key, value in made.items()}))
    if chance.random() < 0.4:
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.1:
        data = data[: chance.randrange(len(data))]
    (tmp_path / "own.npz").write_bytes(data)
    try:
        found = reader(tmp_path / "own.npz")
        rows = rows_of(found)
    except DataError:
        return
    assert [row["row"] for row in rows] == list(range(len(rows)))
    assert len(rows) == found.survey().rows
    if made["image_path"] is before:
        assert len(rows) == COUNT


def _as_saved(value: Any) -> Any:
    """A list as an array of objects: numpy.savez refuses lists whose rows differ."""
    if not isinstance(value, list):
        return value
    held = np.empty(len(value), object)
    held[:] = value
    return held
