"""Where the camera is: picture size, focal length, and the distance at which the person fills the picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.cameras import Intrinsics
from tasks.synthesize.domains import Domain


@dataclass(frozen=True)
class Placement:
    """A picture's size and camera, and where the person is in that camera's frame."""

    width: int
    height: int
    intrinsics: Intrinsics
    transl: NDArray[np.float32]
    """(3,) metres, to be added to the person's vertices."""


def extent(points: NDArray[np.floating], intrinsics: Intrinsics) -> NDArray[np.float64]:
    """(4,) left, top, right, bottom of points (N, 3) in the camera frame, in pixels."""
    u = intrinsics.fx * points[:, 0] / points[:, 2] + intrinsics.cx
    v = intrinsics.fy * points[:, 1] / points[:, 2] + intrinsics.cy
    return np.array([u.min(), v.min(), u.max(), v.max()], dtype=np.float64)


def place(vertices: NDArray[np.float32], domain: Domain, generator: np.random.Generator) -> Placement:
    """Choose a camera for a person whose pelvis is near the origin, vertices (V, 3) in metres and camera axes."""
    width, height = (int(side) for side in generator.choice(domain.sides, size=2))
    focal = float(np.hypot(width, height) * generator.uniform(*domain.focal))
    intrinsics = Intrinsics(focal, focal, width / 2, height / 2)
    size = np.array([width, height], dtype=np.float64)
    fill = generator.uniform(*domain.fill)
    off_centre = generator.uniform(-0.4, 0.4, size=2) * (1 - fill)
    cut = generator.random() < domain.truncated
    side, depth_of_cut = int(generator.integers(4)), generator.uniform(0.08, 0.22)
    if cut:
        # A fifth at most of the box beyond one edge: more, and the label could not be seen from the picture at all.
        axis, direction = side % 2, 1.0 if side < 2 else -1.0
        off_centre[axis] = direction * (0.5 - 0.5 * fill + depth_of_cut * fill)
    points = vertices.astype(np.float64)
    transl = np.array([0.0, 0.0, 4.0])
    # Perspective makes size depend on place and place on size; five rounds settle both to a fraction of a pixel.
    for _ in range(5):
        left, top, right, bottom = extent(points + transl, intrinsics)
        transl[2] *= max((right - left) / (fill * width), (bottom - top) / (fill * height))
        left, top, right, bottom = extent(points + transl, intrinsics)
        centre = np.array([left + right, top + bottom]) / 2
        target = (0.5 + off_centre) * size
        if cut:  # what counts is the place of the box's edge, and the box rarely fills the other axis
            half = np.array([right - left, bottom - top]) / 2
            target[axis] = size[axis] / 2 + direction * (size[axis] / 2 + (2 * depth_of_cut - 1) * half[axis])
        transl[:2] += (target - centre) * transl[2] / focal
    return Placement(width, height, intrinsics, transl.astype(np.float32))
