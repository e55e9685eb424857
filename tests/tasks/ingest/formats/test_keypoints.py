"""Key-points by name: known maps between conventions, and NaN where no name is equal."""

import json

import numpy as np

from models.joint_sets import HYBRIK29_OF_SMPLX
from models.skeleton import JOINT_NAMES
from tasks.ingest.people.keypoints import (
    HUMAN36M,
    HUMAN_DATA,
    JOINTS_29,
    OTHER_PLACE,
    conventions,
    converted,
    names_of,
    places,
)
from tests.parity.rules import FIXTURES


def test_the_lists_are_those_of_the_fixtures() -> None:
    import tasks.ingest.people.keypoints as module

    ours = (module.Path(module.__file__).parent / "keypoints.json").read_bytes()
    assert ours == (FIXTURES / "keypoints.json").read_bytes()


def test_the_29_of_humandata_are_those_that_the_scorer_takes_of_smplx() -> None:
    assert places(HUMAN_DATA, JOINTS_29) == HYBRIK29_OF_SMPLX
    assert places("smplx", JOINTS_29) == HYBRIK29_OF_SMPLX


def test_equal_names_are_the_body_models_joints_but_for_four() -> None:
    names = names_of(JOINTS_29)
    bones = {"spine_1": "spine1", "spine_2": "spine2", "spine_3": "spine3", "left_bigtoe": "left_big_toe"}
    bones |= {"right_bigtoe": "right_big_toe"}
    bones |= {f"{side}_middle": f"{side}_middle_finger_tip" for side in ("left", "right")}
    differing = [joint for joint in range(29) if bones.get(names[joint], names[joint]) != JOINT_NAMES[joint]]
    assert tuple(differing) == OTHER_PLACE


def test_the_17_begin_with_the_right_leg() -> None:
    names = names_of(HUMAN36M)
    assert [name for name in names[1:7] if name.startswith("left")] == list(names[4:7])
    assert names[11].startswith("left")
    assert -1 not in places(HUMAN_DATA, HUMAN36M)


def test_137_columns_of_the_first_144() -> None:
    columns = json.loads((FIXTURES / "keypoints.json").read_text())["smplx_137_from_human_data"]
    assert len(columns) == 137
    assert max(columns) < 144 == len(names_of("smplx"))
    assert names_of(HUMAN_DATA)[:144] == names_of("smplx")


def test_points_without_a_name_are_nan() -> None:
    points = np.arange(2 * 17 * 2.0).reshape(2, 17, 2)
    made = converted(points, "coco", JOINTS_29)
    assert made.shape == (2, 29, 2)
    np.testing.assert_array_equal(made[:, 16], points[:, 5])
    assert np.isnan(made[:, 0]).all()
    assert len(conventions()) == 24
