"""Bodies against the published layer: the same file, poses and shapes give the same meshes and joints."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from models.bodies import load_body
from models.joint_sets import (
    EVALUATION_JOINTS,
    HUMAN36M_JOINTS,
    HYBRIK29_OF_SMPLX,
    MIRROR_HUMAN36M,
    load_regressor,
    regress,
)
from models.skeleton import JOINTS, PARENTS, TWIST_CHILD
from tests.models.pickles import chumpy, python2_pickle
from tests.parity.body import arrays, body, human36m_regressor, mean_betas
from tests.parity.people import IK, people
from tests.parity.rules import FIXTURES, assert_golden, golden

METRES = 1e-5


def test_the_body_is_made_by_its_rule() -> None:
    made = body()
    assert_golden(made.v_template, IK, "smpl.v_template", atol=1e-6)
    assert_golden(made.shapedirs.view(10, 3, -1).permute(2, 1, 0), IK, "smpl.shapedirs", atol=1e-6)
    assert_golden(made.posedirs.view(207, 3, -1).mT.flatten(1), IK, "smpl.posedirs", atol=1e-6)
    assert_golden(made.weights.T, IK, "smpl.lbs_weights", atol=1e-6)
    assert_golden(arrays()["J_regressor"], IK, "smpl.J_regressor", atol=1e-6)
    assert_golden(human36m_regressor(), IK, "smpl.J_regressor_h36m", atol=1e-6)
    assert_golden(mean_betas(), IK, "smpl.h36m_mean_beta", atol=1e-6)


def test_skeleton_and_joint_sets_are_the_published_ones() -> None:
    stored = golden(IK)
    assert tuple(stored["smpl.parents"]) == PARENTS
    assert tuple(stored["smpl.children_map"]) == (*TWIST_CHILD, *[-1] * 5)
    assert tuple(golden("08_metrics_adhmr.npz")["eval_joints_14"]) == EVALUATION_JOINTS
    names = json.loads((FIXTURES / "keypoints.json").read_text(encoding="utf-8"))["conventions"]
    assert len(names["hybrik_29"]) == JOINTS
    assert tuple(names["smplx"].index(name) for name in names["hybrik_29"]) == HYBRIK29_OF_SMPLX
    assert len(HUMAN36M_JOINTS) == len(names["h36m"])
    swapped = {"left": "right", "right": "left"}
    for joint, other in enumerate(MIRROR_HUMAN36M):
        side, _, rest = HUMAN36M_JOINTS[joint].partition("_")
        assert HUMAN36M_JOINTS[other] == (f"{swapped[side]}_{rest}" if side in swapped else HUMAN36M_JOINTS[joint])


def test_sides_of_the_human36m_joints_are_those_of_the_regressor() -> None:
    """At rest, the left of a body that looks along z is where x is positive."""
    sideways = regress(human36m_regressor(), torch.from_numpy(arrays()["v_template"]).float())[:, 0]
    for name, place in zip(HUMAN36M_JOINTS, sideways.tolist(), strict=True):
        side = name.partition("_")[0]
        assert abs(place) < 0.05 if side not in ("left", "right") else (place > 0) == (side == "left"), name


def test_posing_gives_the_published_meshes_and_joints() -> None:
    who = people()
    assert_golden(who.axis_angles, IK, "in.aa", atol=0)
    assert_golden(who.betas, IK, "in.betas", atol=0)
    assert_golden(who.rotations, IK, "fwd.rot_mats", atol=2e-6)
    posed = body()(who.rotations, who.betas)
    assert_golden(posed.vertices, IK, "fwd.vertices", atol=METRES)
    assert_golden(posed.joints, IK, "fwd.joints29", atol=METRES)
    assert_golden(body().joints(who.rotations, who.betas), IK, "fwd.joints29", atol=METRES)
    assert_golden(regress(human36m_regressor(), posed.vertices), IK, "fwd.joints17", atol=METRES)
    assert_golden(body().rest_joints(who.betas)[:, :24], IK, "fwd.rest24", atol=METRES)


@pytest.mark.parametrize("gender", ["neutral", "female"])
def test_the_official_form_of_the_file_is_the_same_body(tmp_path: Path, gender: str) -> None:
    folder = tmp_path / "human_model_files" / "smpl"
    folder.mkdir(parents=True)
    with chumpy() as fake:
        official = {
            **arrays(),
            "v_template": fake.Ch(arrays()["v_template"]),
            "shapedirs": fake.Ch(arrays()["shapedirs"]),
            "J_regressor": sparse.csc_matrix(arrays()["J_regressor"]),
            "J_regressor_prior": sparse.csc_matrix(arrays()["J_regressor"]),
            "bs_style": "lbs",
        }
        (folder / f"SMPL_{gender.upper()}.pkl").write_bytes(python2_pickle(official))
    loaded = load_body(tmp_path, gender)  # type: ignore[arg-type]
    assert loaded.digest == body().digest
    np.save(folder / "J_regressor_h36m.npy", human36m_regressor().double().numpy())
    torch.testing.assert_close(
        load_regressor(folder / "J_regressor_h36m.npy", 17, loaded.vertex_count), human36m_regressor()
    )
