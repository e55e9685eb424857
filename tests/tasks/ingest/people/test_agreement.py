"""Posed joints beside those of a file: what passes, what fails, and what the difference is said to look like."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.joint_sets import HUMAN36M_OF_29
from models.skeleton import JOINT_NAMES, MIRROR_JOINTS
from schemas.config.stages import IngestConfig
from tasks.ingest.people.agreement import DISAGREE, agreements, check_agreement
from tasks.ingest.people.keypoints import BY_BODY, BY_MODEL, BY_NAMES
from tasks.ingest.source.folder import RefusedError
from tests.samples.truth import true_people

POSED = true_people(1)[0].label.joints.astype(np.float64)
CONFIG = IngestConfig()
Joints = NDArray[np.float64]


def row(joints: Joints | None = None, by: str = BY_BODY, seventeen: Joints | None = None) -> dict[str, Any]:
    return {"joints": joints, "joints_by": by, "human36m": seventeen}


def said(given: dict[str, Any], config: IngestConfig = CONFIG) -> str | None:
    """Reason and detail of the refusal; None where there is none."""
    try:
        check_agreement(given, POSED, config)
    except RefusedError as refusal:
        return str(refusal)
    return None


def turned(joints: Joints) -> Joints:
    return Rotation.from_rotvec([0, 1.0, 0]).apply(joints)


WRONG: dict[str, tuple[Callable[[Joints], Joints], str]] = {
    "millimetres": (lambda joints: joints * 1000, "1e+03 times as far apart"),
    "inches": (lambda joints: joints * 39.37, "39.4 times as far apart"),
    "shift": (lambda joints: joints + np.array([0.3, 0.0, -0.04]), r"shifted by (300, 0, -40) mm"),
    "sides": (lambda joints: joints[list(MIRROR_JOINTS)], "left and right are swapped"),
    "frame": (turned, "turned by 57 degrees"),
    "body": (lambda joints: joints + 0.15 * np.sin(np.arange(87.0)).reshape(29, 3), "another body, gender or shape"),
}


@pytest.mark.parametrize("by", [BY_BODY, BY_MODEL, BY_NAMES])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_joints_are_refused_with_what_they_look_like(name: str, by: str) -> None:
    change, words = WRONG[name]
    detail = said(row(change(POSED), by))
    assert detail is not None
    assert detail.startswith(f"{DISAGREE}: ")
    assert words in detail
    assert any(joint in detail for joint in JOINT_NAMES)


@pytest.mark.parametrize("by", [BY_BODY, BY_MODEL, BY_NAMES])
def test_right_joints_pass_whatever_they_are_relative_to(by: str) -> None:
    assert said(row(POSED, by)) is None
    assert said(row(POSED - POSED[0], by)) is None
    assert said(row(POSED - POSED[:3].mean(0), by)) is None, "a root a few cm beside the pelvis"
    some = POSED.copy()
    some[5:] = np.nan
    assert said(row(some, by)) is None
    some[2:] = np.nan
    assert said(row(some + 1, by)) is None, "two joints are too few to say anything"


def test_joints_relative_to_the_root_are_compared_from_there() -> None:
    other = POSED + 0.15 * np.sin(np.arange(87.0)).reshape(29, 3)
    assert "another body" in str(said(row(other - other[0])))


def test_points_of_another_make_may_lie_further_away() -> None:
    """A hip in the flesh lies some cm beside the joint, a wrong body does so as well: makers decide."""
    near = POSED + 0.05 * np.sin(np.arange(87.0)).reshape(29, 3)
    assert said(row(near, BY_NAMES)) is None
    for by in (BY_BODY, BY_MODEL):
        assert "(30 are allowed)" in str(said(row(near, by)))
    loose = CONFIG.model_copy(update={"max_joint_error_mm": 90.0})
    assert said(row(near, BY_BODY), loose) is None
    strict = CONFIG.model_copy(update={"max_other_joint_error_mm": 20.0})
    assert said(row(near, BY_NAMES), strict) is not None


def test_joints_that_have_another_place_by_name_do_not_count() -> None:
    elsewhere = POSED.copy()
    elsewhere[[15, 22, 23, 24]] += 0.5
    assert said(row(elsewhere, BY_MODEL)) is None
    assert said(row(elsewhere, BY_BODY)) is not None


def test_human36ms_joints_are_compared_at_the_limbs() -> None:
    seventeen = POSED[list(HUMAN36M_OF_29)]
    assert said(row(seventeen=seventeen)) is None
    assert said(row(seventeen=seventeen - seventeen[0])) is None
    head = seventeen.copy()
    head[7:11] += 0.3  # spine, neck, nose and head top are regressed elsewhere
    assert said(row(seventeen=head)) is None
    detail = str(said(row(seventeen=seventeen + np.array([0.2, 0, 0]))))
    assert detail.startswith("joints disagree: Human3.6M's 17 joints lie 200 mm")
    assert "shifted by (200, 0, 0)" in detail
    # beside the 29, which agree
    assert said(row(POSED, BY_BODY, seventeen * 1000)) is not None
    assert [found.what for found in agreements(row(POSED, BY_BODY, seventeen), POSED)] == [
        "the file's 3D joints",
        "Human3.6M's 17 joints",
    ]
