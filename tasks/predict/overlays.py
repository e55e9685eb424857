"""Bodies over their pictures: all people of a picture in one, each in a colour of their own."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.cameras import Intrinsics
from models.rendering.shading import render

LARGEST_SIDE: Final = 1280
"""Pixels: larger pictures are drawn at this size."""
QUALITY: Final = 92
_OPACITY: Final = 0.75
_COLOURS: Final = (
    (0.35, 0.65, 0.95),
    (0.95, 0.6, 0.3),
    (0.4, 0.8, 0.45),
    (0.85, 0.45, 0.75),
    (0.9, 0.85, 0.35),
    (0.4, 0.8, 0.8),
)


def shown_size(width: int, height: int) -> tuple[int, int, float]:
    """Width and height of the overlay of a picture, and its scale."""
    scale = min(1.0, LARGEST_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale)), scale


def draw_people(
    picture: Image.Image,
    meshes: Sequence[NDArray[np.floating]],
    faces: NDArray[np.integer],
    cameras: NDArray[np.floating],
) -> Image.Image:
    """A picture with meshes over it, the nearer before the farther; no larger than LARGEST_SIDE.

    Args:
        picture: RGB, upright.
        meshes: for each person vertices (V, 3) in the camera frame, metres.
        faces: (F, 3) of each mesh.
        cameras: (N, 4) fx, fy, cx, cy that each of them was seen by, pixels of the picture; most often all the same.
    """
    camera = Intrinsics(*(float(value) for value in cameras[0]))
    width, height, scale = shown_size(*picture.size)
    shown = picture if scale == 1.0 else picture.resize((width, height), Image.Resampling.LANCZOS)
    counts = np.cumsum([0, *(len(mesh) for mesh in meshes)])[:-1]
    colours = [np.broadcast_to(_COLOURS[place % len(_COLOURS)], mesh.shape) for place, mesh in enumerate(meshes)]
    # one mesh of all people, so that the z-buffer knows who stands before whom
    drawn = render(
        np.concatenate([_seen_alike(mesh, own, cameras[0]) for mesh, own in zip(meshes, cameras, strict=True)]),
        np.concatenate([faces + first for first in counts]),
        np.concatenate(colours),
        camera.scaled(scale),
        width,
        height,
        supersample=2,
        backend="auto",
    )
    blended = drawn.over(np.asarray(shown, np.float32) / 255, _OPACITY)
    return Image.fromarray(np.clip(blended * 255 + 0.5, 0, 255).astype(np.uint8))


def _seen_alike(
    vertices: NDArray[np.floating], own: NDArray[np.floating], camera: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Vertices that `camera` sees where `own` sees these (V, 3), as far away."""
    if np.array_equal(own, camera):
        return vertices
    flat = vertices[:, :2] * own[:2] + vertices[:, 2:] * (own[2:] - camera[2:])
    return np.concatenate([flat / camera[:2], vertices[:, 2:]], axis=1)
