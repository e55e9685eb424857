from pathlib import Path

import numpy as np
import pytest
import torch

from models.joint_sets import HYBRIK29_OF_SMPLX
from models.skeleton import SMPLX_VERTICES
from models.smplx_body import KEYPOINTS, load_smplx_body
from schemas.errors import DataError
from tests.models.smplx_file import smplx_arrays

BEND = torch.tensor([0.0, 0.0, 0.4])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    (root / "human_model_files" / "smplx").mkdir(parents=True)
    np.savez(root / "human_model_files" / "smplx" / "SMPLX_FEMALE.npz", **smplx_arrays())
    return root


def test_smplx_poses_whole_batches(folder: Path) -> None:
    body = load_smplx_body(folder, "female")
    assert load_smplx_body(folder, "female") is body
    generator = torch.Generator().manual_seed(0)
    betas, orient = torch.randn(3, 10, generator=generator), torch.randn(3, 3, generator=generator)
    pose = 0.3 * torch.randn(3, 21, 3, generator=generator)
    transl = torch.tensor([0.1, 0.2, 3.0]).expand(3, 3)
    posed = body(orient, pose, betas, transl, expression=torch.ones(3, 10))
    assert posed.vertices.shape == (3, SMPLX_VERTICES, 3)
    assert posed.keypoints.shape == (3, KEYPOINTS, 3)
    torch.testing.assert_close(posed.hybrik29, posed.keypoints[:, list(HYBRIK29_OF_SMPLX)])
    alone = body(orient[1:2], pose[1:2], betas[1:2], transl[1:2], expression=torch.ones(1, 10))
    torch.testing.assert_close(posed.keypoints[1:2], alone.keypoints, atol=1e-5, rtol=0)
    still = body(orient, pose, betas, expression=torch.ones(3, 10))
    torch.testing.assert_close(still.vertices + transl[:, None], posed.vertices, atol=1e-5, rtol=0)


def test_each_part_moves_what_hangs_on_it(folder: Path) -> None:
    body, betas, zero = load_smplx_body(folder, "female"), torch.zeros(1, 10), torch.zeros(1, 3)
    pose = torch.zeros(1, 21, 3)
    rest = body(zero, pose, betas).keypoints[0]

    def moved(**parts: torch.Tensor) -> set[int]:
        found = body(zero, pose, betas, **parts).keypoints[0, :55]
        return set((found - rest[:55]).norm(dim=-1).gt(1e-3).nonzero().flatten().tolist())

    assert moved(left_hand=BEND.expand(1, 15, 3)) <= set(range(25, 40))
    assert moved(right_hand=BEND.expand(1, 15, 3)) <= set(range(40, 55))
    assert moved(left_hand=BEND.expand(1, 15, 3))
    assert not moved(jaw=BEND[None])  # no joint hangs on the jaw
    elbow = pose.clone()
    elbow[0, 17] = BEND
    posed = body(zero, elbow, betas).keypoints[0, :55]
    assert set((posed - rest[:55]).norm(dim=-1).gt(1e-3).nonzero().flatten().tolist()) == {20, *range(25, 40)}


def test_bad_smplx_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no male SMPLX body"):
        load_smplx_body(tmp_path, "male")
    with pytest.raises(DataError, match=r"no SMPL-X file"):
        load_smplx_body(tmp_path / "missing.npz")
    np.savez(tmp_path / "small.npz", v_template=np.zeros((10, 3)))
    with pytest.raises(DataError, match=r"small\.npz lacks 'posedirs'"):
        load_smplx_body(tmp_path / "small.npz")
    arrays = {**smplx_arrays(), "weights": np.zeros((3, 55)), "posedirs": np.zeros(1)}
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(DataError, match=r"'posedirs' has shape \(1,\)"):
        load_smplx_body(tmp_path / "wrong.npz")


def test_the_policys_joints_are_at_smpls_places(folder: Path) -> None:
    body = load_smplx_body(folder, "female")
    posed = body(torch.zeros(1, 3), torch.zeros(1, 21, 3), torch.zeros(1, 10))
    joints = body.joints29(posed)
    assert joints.shape == (1, 29, 3)
    torch.testing.assert_close(joints[:, :22], posed.keypoints[:, :22])
    torch.testing.assert_close(joints[:, 22:24], posed.keypoints[:, [28, 43]])
    highest = int(smplx_arrays()["v_template"][:, 1].argmax())
    torch.testing.assert_close(joints[:, 24], posed.vertices[:, highest])
    torch.testing.assert_close(joints[:, 25:], posed.keypoints[:, [68, 73, 60, 63]])
