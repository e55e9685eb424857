"""A label in its picture: how far its joints may lie from key-points, told in the person's own size."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.config.stages import IngestConfig
from tasks.ingest.people.row_checks import check_joints, check_projection, reprojection, seen_at
from tasks.ingest.source.folder import RefusedError
from tests.samples.truth import TruePerson, true_people

LIMIT = IngestConfig().max_reprojection
Camera = tuple[float, float, float, float]
LIMB = 0.107
"""The largest deviation of COCO's annotators, that of hips, over the person's scale."""


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(30)


def enlarged(person: TruePerson, tall: float = 458.0) -> tuple[NDArray[np.float64], Camera, Camera]:
    """The person's joints (29, 3), camera and box in a picture in which the box is `tall` pixels on its longer side."""
    factor = tall / max(person.box[2:])
    fx, fy, cx, cy = (factor * person.intrinsics).tolist()
    x, y, w, h = (factor * person.box).tolist()
    return person.label.joints, (fx, fy, cx, cy), (x, y, w, h)


def passes(joints: NDArray[np.floating], pixels: NDArray[np.floating], box: Camera, camera: Camera) -> bool:
    try:
        check_projection(joints, pixels, box, camera, "given", LIMIT)
    except RefusedError:
        return False
    return True


@pytest.mark.parametrize("looseness", [1.0, 1.25])
def test_a_shift_of_90_px_in_a_box_of_458_px_fails(people: Sequence[TruePerson], looseness: float) -> None:
    for person in people:
        joints, camera, (x, y, w, h) = enlarged(person)
        box = (x - w * (looseness - 1) / 2, y - h * (looseness - 1) / 2, w * looseness, h * looseness)
        seen = seen_at(joints, camera)
        for shift in ([90, 0], [0, 90], [-64, 64]):
            assert not passes(joints, seen + shift, box, camera)
        assert passes(joints, seen + np.array([10, 5]), box, camera)


def test_whatever_the_pose_90_px_are_too_far() -> None:
    """The largest scale that a box of 458 px allows: arms and legs spread over all of it."""
    joints = np.stack([np.linspace(-1, 1, 29), np.tile([-1.0, 1.0], 15)[:29], np.full(29, 4.0)], 1)
    camera: Camera = (916.0, 916.0, 229.0, 229.0)
    assert not passes(joints, seen_at(joints, camera) + np.array([90, 0]), (0.0, 0.0, 458.0, 458.0), camera)


def test_annotators_of_key_points_pass(people: Sequence[TruePerson]) -> None:
    rng = np.random.default_rng(0)
    passed = []
    for person in people:
        joints, camera, box = enlarged(person)
        seen = seen_at(joints, camera)
        found = reprojection(seen, seen, box)
        assert found is not None
        passed.append(passes(joints, seen + rng.normal(0, LIMB * found.scale_px, (29, 2)), box, camera))
    assert all(passed)


def test_the_size_of_a_person_is_told_by_the_joints(people: Sequence[TruePerson]) -> None:
    joints, camera, (x, y, w, h) = enlarged(people[0])
    seen = seen_at(joints, camera)
    tight, loose, upper = (
        reprojection(seen, seen, box)
        for box in ((x, y, w, h), (x - w, y - h, 3 * w, 3 * h), (x, y, w, 0.6 * h))  # the last: half visible
    )
    assert tight is not None
    assert loose is not None
    assert upper is not None
    assert tight.scale_px == loose.scale_px == pytest.approx(upper.scale_px)
    some = seen.copy()
    some[5:] = np.nan  # of a label of a few key-points the box tells
    few = reprojection(some, seen, (x, y, w, h))
    assert few is not None
    assert few.scale_px == pytest.approx(tight.scale_px, rel=0.5)
    assert reprojection(seen, None, (x, y, w, h)) is None
    assert reprojection(seen, np.full((29, 2), np.nan), (x, y, w, h)) is None


def test_a_focal_length_that_was_assumed_is_the_reason(people: Sequence[TruePerson]) -> None:
    joints, (fx, fy, cx, cy), box = enlarged(people[0])
    seen = seen_at(joints, (fx, fy, cx, cy))
    for pixels in (seen, None):
        assumed = (4 * fx, 4 * fy, cx + 300, cy)
        for source, reason in (("given", "reprojection error"), ("diagonal", "no focal length")):
            with pytest.raises(RefusedError) as refused:
                check_projection(joints, pixels, box, assumed, source, LIMIT)
            assert refused.value.reason == reason
            assert ("diagonal" in refused.value.detail) == (source == "diagonal")


def test_joints_relative_to_the_root_have_no_depth(people: Sequence[TruePerson]) -> None:
    joints = people[0].label.joints
    check_joints(joints)
    with pytest.raises(RefusedError, match="relative to the root") as refused:
        check_joints(joints - joints[0])
    assert refused.value.reason == "no depth"
    with pytest.raises(RefusedError, match="impossible depth"):
        check_joints(joints - [0, 0, joints[0, 2] + 1])
