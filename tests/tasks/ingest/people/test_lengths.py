"""Bone lengths: metres and millimetres are told apart in every joint set, odd rows are found and don't disturb."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bodies import load_body
from schemas.errors import DataError
from tasks.ingest.people.lengths import MPI_INF_3DHP_BONES, SMPL_BONES, Bone, bone_lengths_human, unit_of
from tests.samples.truth import true_people

# Human3.6M's 17 in the order of the regressor, from those of SMPL that are nearest.
HUMAN36M_OF_SMPL = [0, 2, 5, 8, 1, 4, 7, 6, 12, 15, 24, 16, 18, 20, 17, 19, 21]


@pytest.fixture(scope="module")
def joints() -> NDArray[np.float64]:
    """(6, 29, 3) metres."""
    return np.stack([person.label.joints.astype(np.float64) for person in true_people(6)])


def hp3d(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    made = np.full((len(joints), 28, 3), np.nan)
    for ours, theirs in zip(SMPL_BONES, MPI_INF_3DHP_BONES, strict=True):
        made[:, theirs.start], made[:, theirs.end] = joints[:, ours.start], joints[:, ours.end]
    return made


@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("kind", ["29", "24", "17", "28"])
def test_tells_metres_from_millimetres_in_every_joint_set(joints: NDArray[np.float64], kind: str, scale: float) -> None:
    sets = {"29": joints, "24": joints[:, :24], "17": joints[:, HUMAN36M_OF_SMPL], "28": hp3d(joints)}
    assert unit_of(sets[kind] * scale, "a.json, key joints") == 1 / scale
    assert bone_lengths_human(sets[kind]).all()


def test_the_bodies_that_come_with_the_project_are_human() -> None:
    assert bone_lengths_human(load_body("full").joint_template[None].numpy()).all()


def test_odd_rows_and_unknown_joints_do_not_change_the_unit(joints: NDArray[np.float64]) -> None:
    odd = joints.copy()
    odd[0] *= 1000
    odd[1] = np.inf
    odd[2] = 0
    odd[3, 4:9] = np.nan
    assert unit_of(odd, "a.json") == 1.0
    assert bone_lengths_human(odd).tolist() == [False, False, False, True, True, True]


def test_a_row_in_the_wrong_unit_is_found_either_way(joints: NDArray[np.float64]) -> None:
    assert not bone_lengths_human(joints * 1000).any()
    assert not bone_lengths_human(joints / 1000).any()
    assert bone_lengths_human(np.full((2, 29, 3), np.nan)).all()


def test_one_bone_is_enough_to_be_no_human(joints: NDArray[np.float64]) -> None:
    odd = joints.copy()
    odd[0, 20] += [3, 0, 0]
    assert bone_lengths_human(odd).tolist() == [False] + [True] * 5


def test_neither_unit_is_one_clear_message(joints: NDArray[np.float64]) -> None:
    with pytest.raises(
        DataError, match=r"3DPW_train.json, key smpl_joint_cam: .*metres.*millimetres.*Convert"
    ) as error:
        unit_of(joints * 100, "3DPW_train.json, key smpl_joint_cam")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [np.zeros((3, 17, 3)), np.full((3, 17, 3), np.nan), np.zeros((0, 17, 3))])
def test_no_bone_at_all_is_said(values: NDArray[np.float64]) -> None:
    with pytest.raises(DataError, match="no row has both ends"):
        unit_of(values, "a.json")


def test_other_bones_may_be_named() -> None:
    assert unit_of(np.array([[[0, 0, 0], [0, 400.0, 0]]]), "a.json", [Bone(0, 1, 0.4)]) == 0.001
