"""Boxes beside key-points and pictures: corners are told by most rows, another person's box by its own points."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.ingest.people.box_checks import BESIDE, are_corners, check_box_points, extent
from tasks.ingest.source.folder import RefusedError

RNG = np.random.default_rng(0)
Values = NDArray[np.float64]


def people(width: float, height: float, half: bool, least: float = 0.1) -> tuple[Values, Values, Values]:
    """Padded boxes x, y, w, h, extents of key-points, sizes of pictures; `half`: what is below the hips is hidden."""
    count = 100
    tall = RNG.uniform(least, 0.98, count) * height
    wide = np.minimum(tall * RNG.uniform(0.3, 0.9, count), width)
    x, y = RNG.uniform(0, width - wide), RNG.uniform(0, height - tall)
    pad = RNG.uniform(1, 1.4)
    boxes = np.stack([x + wide * (1 - pad) / 2, y + tall * (1 - pad) / 2, pad * wide, pad * tall], 1)
    extents = np.stack([x, y, x + wide, y + tall / (2 if half else 1)], 1)
    return boxes, extents, np.tile([width, height], (count, 1)).astype(float)


def corners_of(boxes: Values) -> Values:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1920, 1080)])
def test_corners_are_told_from_sizes(size: tuple[int, int], half: bool) -> None:
    for _ in range(20):
        boxes, extents, sizes = people(*size, half)
        unknown = np.full_like(extents, np.nan)
        assert not are_corners(boxes, extents, sizes)
        assert not are_corners(boxes, unknown, sizes)
        assert not are_corners(boxes, unknown, np.full_like(sizes, np.nan))
        assert are_corners(corners_of(boxes), extents, sizes)
        assert are_corners(corners_of(boxes), extents, np.full_like(sizes, np.nan))


def test_people_who_fill_a_small_picture_are_in_no_corners() -> None:
    for _ in range(50):
        boxes, extents, sizes = people(224, 224, half=False, least=0.8)
        assert not are_corners(boxes, extents, sizes)


def test_one_person_is_not_enough_unless_the_box_leaves_the_picture() -> None:
    box, inner = np.array([[100.0, 100, 300, 400]]), np.array([[110.0, 110, 290, 390]])
    assert not are_corners(box, inner, np.array([[640.0, 640]]))
    assert are_corners(box, inner, np.array([[300.0, 400]]))
    assert not are_corners(np.empty((0, 4)), np.empty((0, 4)), np.empty((0, 2)))
    assert not are_corners(np.full((3, 4), np.nan), np.full((3, 4), np.nan), np.full((3, 2), np.nan))


def test_a_box_has_its_own_points() -> None:
    points = np.stack([np.full(12, 100.0), np.linspace(50, 150, 12)], 1)
    check_box_points(np.array([80, 40, 40, 120]), points, (200, 200))
    check_box_points(np.array([80, 40, 40, 60]), points, (200, 200))  # the lower half is hidden
    check_box_points(np.array([0, 0, 200, 200]), points, (200, 200))  # loose
    for box in ([1, 1, 14, 14], [140, 40, 40, 120], [160, 80, 80, 240]):
        with pytest.raises(RefusedError, match=BESIDE) as refused:
            check_box_points(np.array(box), points, (200, 200))
        assert "they reach from (100, 50) to (100, 150)" in refused.value.detail


def test_points_out_of_the_picture_or_unknown_do_not_count() -> None:
    """Of somebody who is half visible, boxes show what is seen, and key-points may go on below the picture."""
    points = np.stack([np.full(12, 100.0), np.linspace(50, 600, 12)], 1)
    check_box_points(np.array([80, 40, 40, 120]), points, (200, 160))
    with pytest.raises(RefusedError):
        check_box_points(np.array([80, 40, 40, 120]), points, (None, None))
    points[2:] = np.nan
    check_box_points(np.array([1, 1, 14, 14]), points, (200, 160))
    assert np.isnan(extent(points)).all()
    # that one is outside of its picture altogether, which is said by another check
    check_box_points(np.array([500, 1, 14, 14]), np.tile([[50.0, 50.0]], (12, 1)), (200, 160))
