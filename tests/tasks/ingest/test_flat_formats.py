"""SPIN's and BEDLAM's npz files, from samples to tables: what they say lands as it is, what they don't is found."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bodies import load_body
from models.smplx_body import load_smplx_body
from schemas.errors import ConfigError
from schemas.ids import Target
from tasks.engine.context import Context
from tasks.ingest.people.row_checks import seen_at
from tasks.rows.instances import instance_ids, load_instances
from tests.samples.bedlam import write_bedlam
from tests.samples.humandata import hands
from tests.samples.spin_npz import squares, write_spin_npz
from tests.samples.truth import TruePerson
from tests.tasks.ingest.conftest import CONFIG
from tests.tasks.ingest.test_annotated import assert_truth, configured, failed, ingest, of_people

pytestmark = pytest.mark.slow


def joints_of(label: dict[str, Any]) -> NDArray[np.float32]:
    return np.reshape(label["joints"], (29, 3))


@pytest.mark.parametrize("names", ["spin", "hmr2"])
@pytest.mark.parametrize(("points", "by"), [(True, "points"), (False, "box")])
def test_spin(here: Context, people: Sequence[TruePerson], tmp_path: Path, names: str, points: bool, by: str) -> None:
    """Pose, shape and all that is relative to the root, within 0.1 mm; places so that pictures agree."""
    source = write_spin_npz(people, tmp_path, names=names, points=points, joints=True)
    result = ingest(here, source)
    assert failed(here, result) == {}
    labels, instances = of_people(here, result, "labels"), of_people(here, result, "instances")
    assert len(labels) == len(people)
    centres, sides = squares(people)
    for number, (name, person) in enumerate(zip(sorted(labels), people, strict=True)):
        label, truth, row = labels[name], person.label, instances[name]
        assert (label["placed_by"], label["label_kind"], label["gender"]) == (by, "gt", "neutral")
        assert label["body_digest"] == load_body(CONFIG.body).digest
        for column in ("global_orient", "body_pose", "betas"):
            np.testing.assert_allclose(label[column], getattr(truth, column), atol=1e-5)
        np.testing.assert_allclose(np.reshape(label["twist"], (23, 2)), truth.twist, atol=1e-4)
        joints = joints_of(label)
        np.testing.assert_allclose(joints - joints[0], truth.joints - truth.joints[0], atol=1e-4)
        assert row["intrinsics_source"] == "diagonal"
        np.testing.assert_allclose(row["box_xywh"][2:], sides[number] / 1.2, rtol=1e-5)
        seen = seen_at(joints, tuple(row["image_intrinsics"]))
        if points:
            assert np.abs(seen - person.pixels).mean() < 0.03 * sides[number]
        else:
            low, high = seen[:24].min(0), seen[:24].max(0)
            np.testing.assert_allclose((low + high) / 2, centres[number], atol=0.1)
            assert (high - low).max() == pytest.approx(sides[number] / 1.2, abs=0.1)
        if names == "spin":  # where the root is, so that what is measured against them is
            assert label["human36m"] is not None
            np.testing.assert_allclose(label["human36m"][:3], joints[0], atol=1e-5)
        assert row["crop_rule"] == "joints"
    ids = instance_ids(here.store, [result.key], [Target("people", "test")])
    assert load_instances(here.store, [result.key], ids).measurable.all()


def test_spin_without_parameters_has_joints_or_people(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    """Human3.6M's and MPI-INF-3DHP's test files have joints, COCO's key-points alone."""
    solid = ingest(here, write_spin_npz(people, tmp_path / "a", body=False, joints=True), bodies=None)
    assert failed(here, solid) == {}
    labels = of_people(here, solid, "labels")
    for name, person in zip(sorted(labels), people, strict=True):
        label, known = labels[name], np.array(labels[name]["joints_valid"])
        assert (label["body_model"], label["placed_by"]) == (None, "points")
        assert known[[4, 5, 7, 8, 16, 17, 18, 19, 20, 21]].all()
        root = np.array(label["human36m"][:3])
        truth = person.label.joints - person.label.joints[0]
        np.testing.assert_allclose(joints_of(label)[known] - root, truth[known], atol=1e-4)
    flat = ingest(here, write_spin_npz(people, tmp_path / "b", body=False, dataset="coco"), bodies=None)
    assert flat.record.tally.ok == len(people)
    assert of_people(here, flat, "labels") == {}


def test_spin_another_body_disagrees_with_the_joints(
    here: Context, people: Sequence[TruePerson], tmp_path: Path
) -> None:
    source = write_spin_npz(people, tmp_path, joints=True)
    with np.load(source.url) as file:
        made = dict(file)
    made["S"][1, :, 1] *= 1.6
    made["pose"][2] = 100.0
    made["shape"][3] = 50.0
    made["imgname"][4] = "images/nowhere.jpg"
    made["pose"][5, :3] = [np.pi, 0, 0]
    np.savez(source.url, **made)
    reasons = failed(here, ingest(here, source))
    assert reasons.pop("joints disagree") >= 1
    assert reasons.pop("impossible pose") == 1
    assert reasons.pop("impossible shape") == 1
    assert reasons.pop("picture missing") == 1
    assert sum(reasons.values()) <= 1, "the one that stands on its head, by whatever is seen first"


def test_bedlam_smpl(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    source = write_bedlam(people, tmp_path, body="smpl", scenes=2)
    result = ingest(here, source)
    assert_truth(here, result, source, people)
    labels = of_people(here, result, "labels")
    assert {(row["gender"], row["placed_by"]) for row in labels.values()} == {("neutral", None)}
    with pytest.raises(ConfigError, match="parameters of SMPL bodies"):
        ingest(here, source, bodies=None)


def test_bedlam_smplx(here: Context, people: Sequence[TruePerson], tmp_path: Path, bodies: Path) -> None:
    source = write_bedlam(people, tmp_path)
    lenient = configured(here, max_reprojection=0.5)  # another body than the one that is seen
    result = ingest(lenient, source, bodies=str(bodies))
    assert failed(here, result) == {}
    body = load_smplx_body(bodies)
    labels = of_people(here, result, "labels")
    for name, person in zip(sorted(labels), people, strict=True):
        row = labels[name]
        assert (row["body_model"], row["body_digest"], row["gender"]) == ("smplx", body.digest, "neutral")
        np.testing.assert_allclose(row["transl"], person.label.transl, atol=1e-5)
        for side, mean, given in zip(("left", "right"), body.mean_hands, hands(person), strict=True):
            np.testing.assert_allclose(row[f"{side}_hand_pose"], given.reshape(45) - mean.numpy(), atol=1e-5)
        parts = ("global_orient", "body_pose", "betas", "transl", "left_hand_pose", "right_hand_pose")
        turn, pose, betas, transl, left, right = (torch.tensor(row[part])[None] for part in parts)
        posed = body(turn, pose[:, :63], betas, transl, left, right)
        np.testing.assert_allclose(body.joints29(posed)[0], joints_of(row), atol=1e-5)


BAD: dict[str, Callable[[dict[str, Any]], None]] = {
    "reprojection error": lambda made: made["cam_int"].__setitem__(
        (2, slice(2), slice(2)), 2.5 * made["cam_int"][2, :2, :2]
    ),
    "camera not usable": lambda made: made["cam_int"].__setitem__((2, 0, 0), 0.0),
    "not finite": lambda made: made["trans_cam"].__setitem__((2, 1), np.nan),
    "impossible depth": lambda made: made["cam_ext"].__setitem__((2, 2, 3), -20.0),
    "box without area": lambda made: made["scale"].__setitem__(2, -1.0),
    "box outside picture": lambda made: made["center"].__setitem__(2, [9000.0, 0.0]),
    "picture missing": lambda made: made["imgname"].__setitem__(2, "seq_000000/no.png"),
}


@pytest.mark.parametrize("reason", BAD)
def test_bedlam_bad_rows_fail_alone(here: Context, people: Sequence[TruePerson], tmp_path: Path, reason: str) -> None:
    source = write_bedlam(people, tmp_path, body="smpl")
    with np.load(source.url, allow_pickle=True) as file:
        made = dict(file)
    BAD[reason](made)
    np.savez(source.url, **made)
    result = ingest(here, source)
    assert failed(here, result) == {reason: 1}
    assert result.record.tally.ok == len(people) - 1


def test_bedlam_without_a_place_is_fitted(here: Context, people: Sequence[TruePerson], tmp_path: Path) -> None:
    source = write_bedlam(people, tmp_path, body="smpl")
    with np.load(source.url, allow_pickle=True) as file:
        made = dict(file)
    for key in ("trans_cam", "cam_ext"):
        made.pop(key)
    np.savez(source.url, **made)
    result = ingest(here, dataclasses.replace(source, split="test"))
    assert failed(here, result) == {}
    labels = of_people(here, result, "labels")
    for name, person in zip(sorted(labels), people, strict=True):
        assert labels[name]["placed_by"] == "points"
        np.testing.assert_allclose(labels[name]["transl"], person.label.transl, atol=2e-3)
