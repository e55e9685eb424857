"""Noised labels: the first is the label itself, what follows is worse by errors that are exact."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import torch

from models.joint_sets import EVALUATION_JOINTS, HUMAN36M_OF_29, HYBRIK29_OF_SMPLX
from models.skeleton import SMPLX_VERTICES
from schemas.errors import DataError
from schemas.splits import SOURCE_TEST
from tasks.evaluation.bodies import SmplxWithJoints, body_of, gt_labels, smpl_with_joints
from tasks.evaluation.noised_labels import NoisedLabel, noised_label
from tasks.rows.instances import load_instances
from tests.models.smplx_file import smplx_arrays
from tests.tasks.conftest import MicroStore

IDS = [f"{SOURCE_TEST}/{index:08d}#0" for index in range(12)]
CAMERA = np.array([80.0, 80.0, 32.0, 32.0], np.float32)
M = 6


@pytest.fixture(scope="module")
def labels(shared_micro_store: MicroStore) -> dict[str, dict[str, Any]]:
    return gt_labels(shared_micro_store.store, [shared_micro_store.ingest_key], IDS)


def noised(label: dict[str, Any], count: int = M, seed: int = 0, name: str | None = None) -> NoisedLabel:
    return noised_label(name or label["instance_id"], label, smpl_with_joints("tiny"), CAMERA, 64, count, seed)


def test_the_first_is_the_label(shared_micro_store: MicroStore) -> None:
    found = load_instances(shared_micro_store.store, [shared_micro_store.ingest_key], IDS)
    rows = gt_labels(shared_micro_store.store, [shared_micro_store.ingest_key], IDS)
    for row, name in enumerate(IDS):
        made = noised_label(name, rows[name], smpl_with_joints("tiny"), found.crop_intrinsics[row], 64, M, 0)
        np.testing.assert_allclose(made.uvd[0], found.uvd[row], atol=1e-4)
        np.testing.assert_allclose(made.twists[0], found.twists[row], atol=1e-3)
        assert all(values[0] < 1e-2 for values in made.errors.values())


def test_errors_grow_with_the_level(labels: dict[str, dict[str, Any]]) -> None:
    made = [noised(labels[name], count=3) for name in IDS]
    for error in ("mpvpe", "pa_mpvpe", "mpjpe", "pa_mpjpe"):
        mean = np.mean([one.errors[error] for one in made], axis=0)
        assert (np.diff(mean) > 0).all(), error
        assert 30 < mean[-1] < 400, error
    one = made[0].errors
    assert (one["pa_mpvpe"] < one["mpvpe"] + 1e-2).all()


def test_errors_equal_a_direct_computation(labels: dict[str, dict[str, Any]]) -> None:
    """The joints that are shown are those of the mesh that is measured."""
    label, body = labels[IDS[0]], smpl_with_joints("tiny")
    made = noised(label)
    depth = label["joints"][2] + made.uvd[..., 2]
    pixels = (made.uvd[..., :2] / 2 + 0.5) * 64
    joints = np.concatenate([(pixels - CAMERA[2:]) / CAMERA[:2] * depth[..., None], depth[..., None]], -1)
    fourteen = joints[:, np.array(HUMAN36M_OF_29)[list(EVALUATION_JOINTS)]]
    relative = fourteen - joints[:, :1]
    expected = np.linalg.norm(relative - relative[:1], axis=-1).mean(-1) * 1000
    np.testing.assert_allclose(made.errors["mpjpe"], expected, atol=0.05)
    turns = torch.tensor([*label["global_orient"], *label["body_pose"]]).view(1, 24, 3)
    posed = body.body(roma.rotvec_to_rotmat(turns), torch.tensor([label["betas"]]))
    np.testing.assert_allclose(
        relative[0],
        (posed.joints[:, list(HUMAN36M_OF_29)][0] - posed.joints[0, :1]).numpy()[list(EVALUATION_JOINTS)],
        atol=1e-4,
    )


def test_noise_depends_on_seed_instance_and_number_alone(labels: dict[str, dict[str, Any]]) -> None:
    label = labels[IDS[0]]
    one = noised(label)
    assert np.array_equal(one.uvd, noised(label).uvd)
    assert not np.allclose(one.uvd[1:], noised(label, seed=1).uvd[1:], atol=1e-3)
    assert not np.allclose(one.uvd[1:], noised(label, name="someone/else/0#0").uvd[1:], atol=1e-3)
    # the last of three has the noise of number 2 at the full level, as number 2 of six at two fifths
    three = noised(label, count=3)
    assert three.errors["mpvpe"][2] > one.errors["mpvpe"][2]


@pytest.fixture(scope="module")
def smplx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bodies")
    (folder / "smplx").mkdir()
    np.savez(folder / "smplx" / "SMPLX_NEUTRAL.npz", **smplx_arrays())
    return folder


def test_smplx_labels_and_their_two_sets_of_joints(smplx_folder: Path, labels: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(DataError, match=r"SMPLX_to_J14\.pkl"):
        body_of(str(smplx_folder), ("smplx", "neutral"))
    regressor = np.zeros((14, SMPLX_VERTICES), np.float32)
    regressor[np.arange(SMPLX_VERTICES) % 14, np.arange(SMPLX_VERTICES)] = 14 / SMPLX_VERTICES
    file = smplx_folder / "smplx" / "SMPLX_to_J14.pkl"
    file.write_bytes(pickle.dumps(regressor))
    body = body_of(str(smplx_folder), ("smplx", "neutral"))
    assert isinstance(body, SmplxWithJoints)
    label = {**labels[IDS[0]], "body_model": "smplx", "jaw_pose": [0.1, 0, 0]}
    names, places = (noised_label("x", label, body, CAMERA, 64, 4, 0, by_names=by_names) for by_names in (True, False))
    assert names.errors.keys() == places.errors.keys()
    for error, values in names.errors.items():
        assert np.array_equal(values, places.errors[error])
        assert values[0] < 1e-2
        assert values[3] > 0.1
    same = [index for index, keypoint in enumerate(HYBRIK29_OF_SMPLX) if keypoint == index and index != 15]
    np.testing.assert_allclose(names.uvd[:, same], places.uvd[:, same], atol=1e-6)
    assert not np.allclose(names.uvd[:, 15], places.uvd[:, 15], atol=1e-3)
