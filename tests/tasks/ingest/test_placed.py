"""HumanData that lacks a place or a camera: what is found is the truth as far as it shows, and said to be found."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.tables import read
from models.smplx_body import load_smplx_body
from schemas.ids import Target
from tasks.engine.context import Context
from tasks.ingest.people.annotations import AnnotationSource
from tasks.rows.instances import instance_ids, load_instances
from tests.models.smplx_file import smplx_arrays
from tests.samples.humandata import members
from tests.samples.truth import TruePerson, write_pictures
from tests.tasks.ingest.test_annotated import configured, failed, ingest, of_people

pytestmark = pytest.mark.slow


def written(people: Sequence[TruePerson], folder: Path, body: str = "smpl", **changes: Any) -> AnnotationSource:
    """HumanData with members changed; None takes a member away, and so it does in the dictionary of the body."""
    paths = [f"{person.index}.jpg" for person in people]
    write_pictures(people, folder, paths)
    made = members(people, paths, body, compressed=True, meta=True)
    for key, value in changes.items():
        held = made[body] if key in made.get(body, {}) else made
        held[key] = value
    for held in (made, made.get(body, {})):
        for key in [key for key, value in held.items() if value is None]:
            held.pop(key)
    np.savez(folder / "own.npz", **made)
    return AnnotationSource("humandata", str(folder / "own.npz"), "own", "train")


def in_order(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in the order of the people."""
    return [rows[name] for name in sorted(rows)]


WITHOUT: dict[str, tuple[dict[str, Any], str, float]] = {
    "joints": ({"transl": None, "keypoints2d": None}, "joints", 1e-3),
    "points": ({"transl": None, "keypoints3d": None}, "points", 2e-3),
    "box": ({"transl": None, "keypoints3d": None, "keypoints2d": None}, "box", 0.5),
}
"""What the file lacks, what then gives the place, and how far it may be from the truth, parts of the depth."""


@pytest.mark.parametrize("name", WITHOUT)
def test_a_body_without_a_place_gets_the_best_that_there_is(
    here: Context, people: Sequence[TruePerson], tmp_path: Path, name: str
) -> None:
    changes, by, off = WITHOUT[name]
    # SMPL-H: its 3D key-points are not known to be the body's own, so they are no exact place
    source = written(people, tmp_path, "smplh", **changes)
    result = ingest(here, source)
    assert failed(here, result) == {}
    for row, person in zip(in_order(of_people(here, result, "labels")), people, strict=True):
        assert row["placed_by"] == by
        joints, truth = np.reshape(row["joints"], (29, 3)), person.label.joints
        # the hands of SMPL-H don't turn; all else is as it was, but for the place
        np.testing.assert_allclose((joints - joints[0])[:22], (truth - truth[0])[:22], atol=1e-4)
        np.testing.assert_allclose(joints[0] - row["transl"], truth[0] - person.label.transl, atol=1e-4)
        assert np.linalg.norm(joints[0] - truth[0]) < off * truth[0, 2]
    ids = instance_ids(here.store, [result.key], [Target("own", "train")])
    assert load_instances(here.store, [result.key], ids).measurable.all()


def test_a_place_that_the_file_gives_is_not_said_to_be_found(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    result = ingest(here, written(people, tmp_path))
    assert {row["placed_by"] for row in of_people(here, result, "labels").values()} == {None}


def test_key_points_that_no_place_fits_are_told(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    """Bodies that stand on their heads before their key-points: their root is turned in another frame."""
    from scipy.spatial.transform import Rotation

    orient = np.stack([person.label.global_orient for person in people])
    turned = (Rotation.from_euler("x", 180, degrees=True) * Rotation.from_rotvec(orient)).as_rotvec()
    source = written(people, tmp_path, transl=None, keypoints3d_smpl=None, global_orient=turned.astype(np.float32))
    reasons = failed(here, ingest(here, source))
    assert set(reasons) <= {"no depth", "reprojection error"}
    assert reasons.total() == len(people)
    details = read(here.store, "failures").column("detail").to_pylist()
    assert all("another person" in detail and "frame?" in detail for detail in details)


def test_a_focal_length_is_that_by_which_label_and_key_points_agree(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    # through the middle of the picture, as far as nothing is said
    middles = np.array([[person.width / 2, person.height / 2] for person in people])
    long = members(people, [""] * len(people), "smpl", compressed=True, meta=True)
    long["keypoints2d_smpl"][..., :2] += long["keypoints2d_smpl"][..., :2] - middles[:, None]
    long["bbox_xywh"][:, :2] += long["bbox_xywh"][:, :2] - middles
    long["bbox_xywh"][:, 2:4] *= 2
    changes = {name: long[name] for name in ("keypoints2d_smpl", "bbox_xywh")}
    result = ingest(here, written(people, tmp_path, meta=None, **changes))
    assert failed(here, result) == {}
    instances, labels = of_people(here, result, "instances"), of_people(here, result, "labels")
    for name, person in zip(sorted(instances), people, strict=True):
        assert instances[name]["intrinsics_source"] == "points"
        assert labels[name]["placed_by"] is None
        fx, fy, cx, cy = instances[name]["image_intrinsics"]
        np.testing.assert_allclose([fx, fy], 2 * person.intrinsics[0], rtol=1e-3)
        np.testing.assert_allclose([cx, cy], [person.width / 2, person.height / 2])
        np.testing.assert_allclose(np.reshape(labels[name]["joints"], (29, 3)), person.label.joints, atol=1e-4)


def test_hands_of_a_pca_are_posed_by_the_body_file(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    arrays = smplx_arrays()
    for side in "lr":
        arrays[f"hands_components{side}"] = np.linalg.qr(random.normal(size=(45, 45)))[0]
    folder = tmp_path / "human_model_files" / "smplx"
    folder.mkdir(parents=True)
    np.savez(folder / "SMPLX_NEUTRAL.npz", **arrays)
    given = random.normal(0, 0.5, (2, len(people), 12)).astype(np.float32)
    hands = {"left_hand_pose": given[0], "right_hand_pose": given[1]}
    source = dataclasses.replace(
        written(people, tmp_path / "data", "smplx", **hands), options={"keypoints3d": "unused"}
    )
    result = ingest(configured(here, max_reprojection=0.5), source, bodies=str(folder.parent))
    assert failed(here, result) == {}
    body = load_smplx_body(folder / "SMPLX_NEUTRAL.npz")
    for number, row in enumerate(in_order(of_people(here, result, "labels"))):
        for side, coefficients in zip("lr", given[:, number], strict=True):
            expected = coefficients @ arrays[f"hands_components{side}"][:12]
            name = "left_hand_pose" if side == "l" else "right_hand_pose"
            np.testing.assert_allclose(row[name], expected, atol=1e-5)
        parts = ("global_orient", "body_pose", "betas", "transl", "left_hand_pose", "right_hand_pose")
        turn, pose, betas, transl, left, right = (torch.tensor(row[name])[None] for name in parts)
        posed = body(turn, pose[:, :63], betas, transl, left, right)
        np.testing.assert_allclose(body.joints29(posed)[0], np.reshape(row["joints"], (29, 3)), atol=1e-5)
