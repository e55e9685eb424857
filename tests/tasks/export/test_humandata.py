"""Labels as HumanData: what the published loaders index is where they index it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import DataError
from tasks.export.humandata import SMPL_COLUMNS, SMPLX_COLUMNS, export_humandata
from tasks.ingest.formats.humandata.reader import HumanData
from tasks.ingest.people.annotations import AnnotationSource
from tests.parity.rules import FIXTURES
from tests.samples.truth import TruePerson, true_people
from tests.tasks.export import tables


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(3)


def written(people: list[TruePerson], file: Path, body_model: str = "smpl", compressed: bool = True) -> dict[str, Any]:
    # in another order than the file's
    labels = tables.labels(people, body_model).take([2, 0, 1])
    assert export_humandata(labels, tables.instances(people), tables.images(people), str(file), compressed) == 3
    with np.load(file, allow_pickle=True) as members:  # a file that the test itself has written
        return {name: members[name] for name in members.files}


def test_values_agree_with_the_truth(people: list[TruePerson], tmp_path: Path) -> None:
    members = written(people, tmp_path / "labels.npz")
    assert members["image_path"].tolist() == [f"sub/{person.index:03d}.jpg" for person in people]
    np.testing.assert_allclose(members["bbox_xywh"][:, :4], [person.box for person in people], rtol=1e-6)
    assert (members["bbox_xywh"][:, 4] == 1).all()
    body = members["smpl"].item()
    assert {name: value.shape for name, value in body.items()} == {
        "global_orient": (3, 3),
        "body_pose": (3, 23, 3),
        "betas": (3, 10),
        "transl": (3, 3),
        "gender": (3,),
    }
    for row, person in enumerate(people):
        np.testing.assert_array_equal(body["global_orient"][row], person.label.global_orient)
        np.testing.assert_array_equal(body["body_pose"][row].ravel(), person.label.body_pose)
        np.testing.assert_array_equal(body["betas"][row], person.label.betas)
        np.testing.assert_array_equal(body["transl"][row], person.label.transl)
    meta = members["meta"].item()
    assert meta["height"].tolist() == [person.height for person in people]
    assert meta["width"].tolist() == [person.width for person in people]
    camera = np.concatenate([meta["focal_length"], meta["principal_point"]], 1)
    np.testing.assert_allclose(camera, [person.intrinsics for person in people], rtol=1e-6)
    assert members["misc"].item()["label_kind"].tolist() == ["gt"] * 3


@pytest.mark.parametrize("body_model", ["smpl", "smplx"])
def test_export_and_read_again(people: list[TruePerson], tmp_path: Path, body_model: str) -> None:
    written(people, tmp_path / "labels.npz", body_model)
    source = AnnotationSource("humandata", str(tmp_path / "labels.npz"), "mine", "train")
    read = pa.Table.from_batches(list(HumanData(source, tmp_path / "work").batches()))
    labels, instances = tables.labels(people, body_model), tables.instances(people)
    assert read.column("reason").null_count == 3
    assert read.column("path").to_pylist() == [f"sub/{person.index:03d}.jpg" for person in people]
    assert read.column("body_model").to_pylist() == [body_model] * 3
    assert read.column("gender").to_pylist() == labels.column("gender").to_pylist()
    assert read.column("box").to_pylist() == instances.column("box_xywh").to_pylist()
    for name in ("global_orient", "body_pose", "betas", "transl"):
        assert read.column(name).to_pylist() == labels.column(name).to_pylist()
    camera = [read.column(name).to_pylist() for name in ("fx", "fy", "cx", "cy")]
    assert np.transpose(camera).tolist() == instances.column("image_intrinsics").to_pylist()


@pytest.mark.parametrize("compressed", [True, False])
def test_key_points_are_found_by_their_names(people: list[TruePerson], tmp_path: Path, compressed: bool) -> None:
    members = written(people, tmp_path / "labels.npz", compressed=compressed)
    assert bool(members["__keypoints_compressed__"]) is compressed
    for name, width in (("keypoints2d_smpl", 3), ("keypoints3d_smpl", 4)):
        mask, values = members[f"{name}_mask"], members[name]
        assert mask.shape == (190,)
        assert mask.sum() == 29
        whole = np.zeros((3, 190, width), np.float32)
        whole[:, mask == 1] = values if compressed else values[:, mask == 1]
        ours = whole[:, list(SMPL_COLUMNS)]
        assert (ours[..., -1] == 1).all()
        truth = [person.pixels if width == 3 else person.label.joints for person in people]
        np.testing.assert_allclose(ours[..., :-1], truth, atol=1e-4 if width == 4 else 0.01)


def test_the_columns_have_the_names_of_our_joints() -> None:
    conventions = json.loads((FIXTURES / "keypoints.json").read_text())["conventions"]
    names = conventions["human_data"]
    leaves = ["headtop", "left_middle", "right_middle", "left_bigtoe", "right_bigtoe"]
    assert [names[column] for column in SMPL_COLUMNS] == [*conventions["smpl"], *leaves]
    knuckles = ["left_middle_1", "right_middle_1"]
    assert [names[column] for column in SMPLX_COLUMNS] == [*conventions["smplx"][:22], *knuckles, *leaves]


def test_smplx_bodies_have_their_hands(people: list[TruePerson], tmp_path: Path) -> None:
    members = written(people, tmp_path / "labels.npz", "smplx")
    body = members["smplx"].item()
    assert body["body_pose"].shape == (3, 21, 3)
    assert body["left_hand_pose"].shape == (3, 15, 3)
    np.testing.assert_allclose(body["left_hand_pose"][:, 0, 0], [0.1, 0, 0], atol=1e-6)
    assert "right_hand_pose" not in body
    assert "keypoints3d_smplx" in members


def test_unknown_joints_have_no_confidence(people: list[TruePerson], tmp_path: Path) -> None:
    labels = tables.labels(people)
    valid = np.ones((3, 29), bool)
    valid[1, 20] = False
    place = labels.schema.get_field_index("joints_valid")
    labels = labels.set_column(
        place, labels.schema.field(place), pa.array(valid.tolist(), labels.schema.field(place).type)
    )
    export_humandata(labels, tables.instances(people), tables.images(people), str(tmp_path / "l.npz"), compressed=False)
    with np.load(tmp_path / "l.npz", allow_pickle=True) as members:  # a file that the test itself has written
        for name in ("keypoints2d_smpl", "keypoints3d_smpl"):
            assert not members[name][1, 20].any()
            assert members[name][0, 20, -1] == 1


def test_what_does_not_go_together_is_said(people: list[TruePerson], tmp_path: Path) -> None:
    target = str(tmp_path / "labels.npz")
    labels, instances, images = tables.labels(people), tables.instances(people), tables.images(people)
    mixed = pa.concat_tables([labels.slice(0, 1), tables.labels(people, "smplx").slice(1)])
    for rows, words in (
        (mixed, "of SMPL and of SMPL-X"),
        (pa.concat_tables([labels, labels]), "Two labels of one person"),
        (labels.slice(0, 0), "no label to export"),
    ):
        with pytest.raises(DataError, match=words):
            export_humandata(rows, instances, images, target)
    with pytest.raises(DataError, match="images have no row"):
        export_humandata(labels, instances, images.slice(1), target)
    assert not list(tmp_path.iterdir())
