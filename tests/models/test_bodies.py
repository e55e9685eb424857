import contextlib
import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from models import bodies, skeleton
from models.bodies import Body, load_body, smplx_model
from models.body_arrays import BUILT_IN, SMPL_VERTICES, read_arrays
from models.cameras import mirror_joints
from schemas.errors import DataError
from tests.models.poses import random_people, side
from tests.parity.published import mirror_rotations

NAMES = sorted(BUILT_IN)


@pytest.fixture(params=NAMES)
def body(request: pytest.FixtureRequest) -> Body:
    return load_body(request.param)


@pytest.mark.slow
def test_loading_says_nothing_and_gives_the_same_digest_in_every_process() -> None:
    code = "from models.bodies import load_body as b; import sys; sys.stderr.write(b('tiny').digest + b('full').digest)"
    runs = [
        subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert all(run.stdout == "" for run in runs)
    assert {run.stderr for run in runs} == {load_body("tiny").digest + load_body("full").digest}
    assert load_body("tiny") is load_body(BUILT_IN["tiny"])


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_regressor_are_partitions_of_unity(name: str) -> None:
    arrays = read_arrays(BUILT_IN[name])
    for key in ("weights", "J_regressor"):
        value = np.asarray(arrays[key], np.float64)
        assert value.min() >= 0
        np.testing.assert_allclose(value.sum(1), 1, atol=1e-6)


def test_sizes_are_those_of_a_person(body: Body) -> None:
    assert body.vertex_count == {"body_tiny": 1229, "body_full": 13718}[body.name]
    betas = torch.zeros(3, 10)
    betas[:, 0] = torch.tensor([-2.0, 0.0, 2.0])
    vertices = body(torch.eye(3).expand(3, 24, 3, 3), betas).vertices
    short, mean, tall = (vertices[..., 1].amax(1) - vertices[..., 1].amin(1)).tolist()
    assert 1.5 < short < 1.65 < mean < 1.85 < tall < 2.0
    assert body.rest_joints(betas)[:, 0].norm(dim=-1).max() < 0.3
    assert set(body.regions.unique().tolist()) == set(range(5))


def test_left_is_left_and_the_person_looks_along_z(body: Body) -> None:
    rest = dict(zip(skeleton.JOINT_NAMES, body.rest_joints(torch.zeros(1, 10))[0], strict=True))
    for name, place in rest.items():
        expected = {"left": 1, "right": -1, "middle": 0}[side(skeleton.JOINT_NAMES.index(name))]
        assert (place[0].sign() if place[0].abs() > 1e-4 else 0) == expected, name
    assert rest["left_big_toe"][2] > rest["left_ankle"][2] + 0.1
    assert rest["head_top"][1] > rest["head"][1] > rest["pelvis"][1] > rest["left_knee"][1]


def test_both_meshes_mean_the_same_by_the_same_betas() -> None:
    _, betas = random_people(50)
    tiny, full = (load_body(name).rest_joints(betas)[:, : skeleton.SMPL_JOINTS] for name in ("tiny", "full"))
    assert (tiny - full).norm(dim=-1).mean() < 0.005


def test_mirrored_rotations_give_the_mirrored_person(body: Body) -> None:
    rotations, betas = random_people(4)
    mirrored = body.joints(mirror_rotations(rotations), betas)
    torch.testing.assert_close(mirrored, mirror_joints(body.joints(rotations, betas)), atol=2e-5, rtol=0)


@pytest.mark.parametrize("pose_shapes", [False, True])
def test_posing_equals_smplx(tmp_path: Path, pose_shapes: bool) -> None:
    arrays = read_arrays(BUILT_IN["tiny"])
    if pose_shapes:
        random = np.random.default_rng(0)
        arrays["posedirs"] = random.normal(size=(1229, 3, 207)).astype(np.float32) * 1e-3
    np.savez(tmp_path / "dense.npz", **arrays)  # type: ignore[arg-type]
    body = load_body(tmp_path / "dense.npz")
    rotations, betas = random_people(5)
    transl = torch.tensor([0.1, -0.2, 3.0]).expand(5, 3)
    theirs = smplx_model(arrays)(
        betas=betas, global_orient=rotations[:, :1], body_pose=rotations[:, 1:], transl=transl, pose2rot=False
    )
    ours = body(rotations, betas, transl)
    torch.testing.assert_close(ours.vertices, theirs.vertices, atol=5e-6, rtol=0)
    torch.testing.assert_close(ours.joints, theirs.joints, atol=5e-6, rtol=0)
    torch.testing.assert_close(body.joints(rotations, betas, transl), ours.joints, atol=1e-6, rtol=0)
    assert (body.digest == load_body("tiny").digest) is not pose_shapes


@pytest.mark.parametrize("pose_shapes", [False, True])
def test_a_batch_is_posed_a_few_meshes_at_a_time_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pose_shapes: bool
) -> None:
    arrays = read_arrays(BUILT_IN["tiny"])
    if pose_shapes:
        arrays["posedirs"] = np.random.default_rng(0).normal(size=(1229, 3, 207)).astype(np.float32) * 1e-3
    np.savez(tmp_path / "body.npz", **arrays)  # type: ignore[arg-type]
    body, (rotations, betas) = load_body(tmp_path / "body.npz"), random_people(23)
    at_once = body(rotations, betas)
    monkeypatch.setattr(bodies, "_SHAPED_AT_ONCE", 10)
    monkeypatch.setattr(bodies, "_SKINNED_BYTES", 4 * 48 * body.vertex_count)
    parts = list(body.posed(rotations, betas))
    assert [len(range(23)[part.rows]) for part in parts] == [4, 4, 2, 4, 4, 2, 3]
    vertices, joints = torch.cat([part.vertices.mT for part in parts]), torch.cat([part.joints for part in parts])
    torch.testing.assert_close(vertices, at_once.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(joints, at_once.joints, atol=1e-6, rtol=0)
    assert torch.equal(body(rotations, betas).vertices, vertices)
    assert body(rotations[:0], betas[:0]).vertices.shape == (0, 1229, 3)


def test_a_thousand_small_bodies_take_well_under_a_second() -> None:
    body = load_body("tiny")
    rotations, betas = random_people(1000)
    times = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(4):
            start = time.process_time()
            body(rotations, betas)
            times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert min(times) < 0.6


def test_a_bad_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no body called 'huge'.*tiny, full"):
        load_body("huge")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"this is text")
    with pytest.raises(DataError, match=r"no readable \.npz"):
        load_body(broken)

    arrays = read_arrays(BUILT_IN["tiny"])

    def refused(because: str, **changed: object) -> None:
        file = tmp_path / f"{because.split()[0]}.npz"
        kept = {key: value for key, value in {**arrays, **changed}.items() if value is not None}
        np.savez(file, **kept)  # type: ignore[arg-type]
        with contextlib.redirect_stdout(io.StringIO()), pytest.raises(DataError, match=because):
            load_body(file)

    refused("lacks 'f'", f=None)
    refused("weights", weights=np.zeros((7, 24)))
    refused(f"1229 vertices and no 'leaf_vertices'.*|{SMPL_VERTICES}", leaf_vertices=None)
    refused("parents in 'kintree_table'", kintree_table=np.zeros((2, 24), np.int64))
    refused("face in 'f'", f=np.array([[0, 1, 1229]]))
