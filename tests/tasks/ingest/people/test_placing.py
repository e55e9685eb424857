"""Places and focal lengths that are fitted: to the truth where it shows, near it where points are rough, or refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.ingest.people.placing import Camera, Seen, seen
from tasks.ingest.people.posed import Posed
from tasks.ingest.people.row_checks import seen_at
from tasks.ingest.source.folder import RefusedError
from tests.samples.truth import TruePerson, true_people


@pytest.fixture(scope="module")
def people() -> list[TruePerson]:
    return true_people(20)


def camera_of(person: TruePerson) -> Camera:
    fx, fy, cx, cy = person.intrinsics.tolist()
    return fx, fy, cx, cy


def found(
    person: TruePerson,
    pixels: NDArray[np.floating] | None,
    source: str = "given",
    placed: bool = False,
    joints: NDArray[np.floating] | None = None,
    camera: Camera | None = None,
) -> Seen:
    """A body at the origin (or `placed`) before what is seen."""
    label, here = person.label, person.label.joints - person.label.transl * (not placed)
    body = Posed(here, label.twist, label.transl * placed, (None, None), "digest", placed)
    row: dict[str, Any] = {"joints": joints, "human36m": None, "box": person.box, "box_per_joints": 1.1}
    row |= dict.fromkeys(("left_hand_pose", "right_hand_pose", "jaw_pose"))
    row |= {name: getattr(label, name) for name in ("global_orient", "body_pose", "betas")}
    return seen(row, body, pixels, (camera or camera_of(person), source))


def test_exact_key_points_give_the_place(people: Sequence[TruePerson]) -> None:
    for person in people:
        one = found(person, person.pixels)
        assert one.body is not None
        assert (one.placed_by, one.fitted_to, one.camera[1]) == ("points", "points", "given")
        np.testing.assert_allclose(one.joints, person.label.joints, atol=1e-4)
        np.testing.assert_allclose(one.body.transl, person.label.transl, atol=1e-4)


def test_one_wild_key_point_moves_nobody(people: Sequence[TruePerson]) -> None:
    for person in people:
        pixels = person.pixels.copy()
        pixels[7] += 300
        rough = found(person, pixels)
        off = np.linalg.norm(seen_at(rough.joints, camera_of(person)) - person.pixels, axis=1)
        assert off.mean() < 0.03 * max(person.box[2:])


def test_joints_of_another_make_come_before_key_points(people: Sequence[TruePerson]) -> None:
    person = people[0]
    joints = person.label.joints + np.random.default_rng(0).normal(0, 0.02, (29, 3))
    one = found(person, person.pixels + 40, joints=joints)
    assert one.placed_by == "joints"
    assert np.abs(one.joints - person.label.joints).max() < 0.02
    relative = found(person, person.pixels, joints=joints - joints[0])
    assert relative.placed_by == "points"


def test_joints_alone_are_placed_where_they_are_relative_to_their_root(people: Sequence[TruePerson]) -> None:
    """And those of Human3.6M beside them, which may be the only ones that say it."""
    for person in people[:5]:
        label = person.label.joints
        own = np.full((29, 3), np.nan)
        own[3:24] = (label - label[0])[3:24]  # neither root nor hips
        seventeen = np.concatenate([np.zeros((1, 3)), (label - label[0])[1:17]])
        for joints, others in ((label - label[0], None), (own, seventeen)):
            row = {"joints": joints, "human36m": others, "box": person.box, "box_per_joints": 1.1}
            one = seen(row, None, person.pixels, (camera_of(person), "given"))
            known = np.isfinite(joints)
            assert one.placed_by == "points"
            np.testing.assert_allclose(one.joints[known], label[known], atol=1e-3)
        there = {"joints": label, "human36m": None, "box": person.box, "box_per_joints": 1.1}
        assert seen(there, None, person.pixels, (camera_of(person), "given")).placed_by is None


@pytest.mark.parametrize("known", [0, 3])
def test_too_few_key_points_leave_the_box(people: Sequence[TruePerson], known: int) -> None:
    person = people[1]
    pixels = np.full((29, 2), np.nan)
    pixels[:known] = person.pixels[:known]
    one = found(person, pixels)
    points = seen_at(one.joints[:24], camera_of(person))
    x, y, w, h = person.box
    assert one.placed_by == "box"
    np.testing.assert_allclose((points.min(0) + points.max(0)) / 2, [x + w / 2, y + h / 2], atol=0.1)
    assert np.ptp(points, axis=0).max() == pytest.approx(max(w, h) / 1.1, abs=0.1)


def test_upside_down_there_is_no_place_in_front_of_the_camera(people: Sequence[TruePerson]) -> None:
    for person in people:
        mirrored = np.array([person.width, person.height]) - person.pixels
        with pytest.raises(RefusedError, match="no place in front of the camera fits"):
            found(person, mirrored)


def test_a_focal_length_is_found_only_where_none_is_known(people: Sequence[TruePerson]) -> None:
    person = people[2]
    fx, _, cx, cy = camera_of(person)
    guess = (1.7 * fx, 1.7 * fx, cx, cy)
    one = found(person, person.pixels, "diagonal", placed=True, camera=guess)
    assert (one.camera[1], one.placed_by) == ("points", None)
    np.testing.assert_allclose(one.camera[0], (fx, fx, cx, cy), rtol=1e-5)
    for source in ("given", "exif"):
        assert found(person, person.pixels, source, placed=True, camera=guess).camera == (guess, source)
    # behind the lens, or none that there is: the diagonal stays, and the check of the projection says so
    mirrored = np.array([person.width, person.height]) - person.pixels
    for pixels in (mirrored, None):
        assert found(person, pixels, "diagonal", placed=True, camera=guess).camera == (guess, "diagonal")
