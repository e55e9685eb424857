from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.joint_sets import HYBRIK29_OF_SMPLX, SMPLX_VERTICES
from models.smplx_body import KEYPOINTS, load_smplx_body
from schemas.errors import DataError

BEND = torch.tensor([0.0, 0.0, 0.4])


def _arrays() -> dict[str, Any]:
    """A body in SMPL-X's format: every vertex belongs to one of the 55 joints."""
    random, count = np.random.default_rng(0), SMPLX_VERTICES
    owner = np.arange(count) % 55
    parents = [0, 0, 0, 0, *range(1, 10), 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15]
    for wrist in (20, 21):
        first = len(parents)
        parents += [wrist if joint % 3 == 0 else first + joint - 1 for joint in range(15)]
    regressor = np.zeros((55, count), np.float32)
    regressor[owner, np.arange(count)] = 1
    weights = np.zeros((count, 55), np.float32)
    weights[np.arange(count), owner] = 1
    return {
        "v_template": random.normal(size=(55, 3))[owner] + 0.01 * random.normal(size=(count, 3)),
        "shapedirs": 0.01 * random.normal(size=(count, 3, 20)).astype(np.float32),
        "posedirs": np.zeros((count, 3, 486), np.float16),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights,
        "kintree_table": np.stack([parents, np.arange(55)]),
        "f": random.integers(0, count, (500, 3)).astype(np.uint32),
        "hands_meanl": np.full(45, 0.1),
        "hands_meanr": np.full(45, -0.1),
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
        "lmk_faces_idx": random.integers(0, 500, 51),
        "lmk_bary_coords": np.full((51, 3), 1 / 3),
        "dynamic_lmk_faces_idx": random.integers(0, 500, (79, 17)),
        "dynamic_lmk_bary_coords": np.full((79, 17, 3), 1 / 3),
        "joint2num": np.array({"pelvis": 0}, object),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bodies")
    (root / "human_model_files" / "smplx").mkdir(parents=True)
    np.savez(root / "human_model_files" / "smplx" / "SMPLX_FEMALE.npz", **_arrays())
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
    arrays = {**_arrays(), "weights": np.zeros((3, 55)), "posedirs": np.zeros(1)}
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(DataError, match=r"'posedirs' has shape \(1,\)"):
        load_smplx_body(tmp_path / "wrong.npz")
