"""Colour for what the z-buffer saw: one distant light with an ambient part, antialiasing, overlays on photographs."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.cameras import Intrinsics
from models.rendering.raster import Backend, rasterise


@dataclass(frozen=True)
class Light:
    """A distant light: brightness = ambient + (1 − ambient) · max(0, normal · direction) (Lambert's law)."""

    direction: tuple[float, float, float] = (-0.4, -0.6, -0.7)
    """From the surface towards the light, camera frame (y down, so −y is from above); any length."""
    ambient: float = 0.45
    """Share of the brightness that reaches every surface, 0 to 1."""


@dataclass(frozen=True)
class Rendering:
    """A picture of a mesh on nothing, ready to be laid over something."""

    colour: NDArray[np.float32]
    """(H, W, 3), 0 to 1, already multiplied by `coverage`."""
    coverage: NDArray[np.float32]
    """(H, W), share of the pixel that the mesh covers, 0 to 1."""

    def over(self, background: NDArray[np.floating], opacity: float = 1.0) -> NDArray[np.float32]:
        """(H, W, 3) in 0 to 1: the mesh laid over `background` (same shape and range)."""
        kept = 1.0 - opacity * self.coverage[..., None]
        return (background * kept + opacity * self.colour).astype(np.float32)


def render(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    colours: NDArray[np.floating],
    intrinsics: Intrinsics,
    width: int,
    height: int,
    *,
    light: Light = Light(),
    supersample: int = 1,
    near: float = 0.05,
    backend: Backend = "numba",
) -> Rendering:
    """Draw a mesh with smooth Lambert shading.

    Args:
        vertices: (V, 3), metres, camera frame.
        faces: (F, 3).
        colours: (V, 3) per vertex or (F, 3) per face, 0 to 1.
        intrinsics: pinhole in pixels of the picture asked for.
        width, height: of the picture, pixels.
        light: where it comes from and how much of it is ambient.
        supersample: samples per pixel along each axis; 3 gives clean edges.
        near: metres; see `rasterise`.
        backend: see `rasterise`.

    Raises:
        ValueError: if the mesh can't be drawn or `colours` fits neither vertices nor faces.
    """
    if colours.shape not in ((len(vertices), 3), (len(faces), 3)):
        raise ValueError(
            f"colours must be (V, 3) or (F, 3) = ({len(vertices)} or {len(faces)}, 3), not {colours.shape}"
        )
    if supersample < 1:
        raise ValueError(f"supersample must be at least 1, not {supersample}")
    fine = intrinsics.scaled(supersample)
    raster = rasterise(vertices, faces, fine, width * supersample, height * supersample, near=near, backend=backend)
    towards = np.asarray(light.direction, dtype=np.float64)
    points = np.ascontiguousarray(vertices, np.float64)
    corners = np.ascontiguousarray(faces, np.int64)
    colour = _shade(
        raster.face,
        raster.barycentric,
        points,
        corners,
        vertex_normals(points, corners),
        np.ascontiguousarray(colours, np.float64),
        len(colours) == len(vertices),
        towards / max(float(np.linalg.norm(towards)), 1e-12),
        float(light.ambient),
    )
    coverage = raster.mask.astype(np.float32)
    if supersample > 1:
        colour, coverage = _block_means(colour, supersample), _block_means(coverage, supersample)
    return Rendering(colour, coverage)


def _block_means(fine: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means over blocks of side x side pixels of (H * side, W * side, ...): NumPy's `mean` over both axes takes four
    times as long."""
    blocks = fine.reshape(len(fine) // side, side, fine.shape[1] // side, side, *fine.shape[2:])
    total = np.zeros_like(blocks[:, 0, :, 0])
    for row in range(side):
        for column in range(side):
            total += blocks[:, row, :, column]
    return total / np.float32(side * side)


def overlay(
    image: NDArray[np.uint8],
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    intrinsics: Intrinsics,
    *,
    colour: tuple[float, float, float] = (0.35, 0.65, 0.95),
    opacity: float = 0.75,
    supersample: int = 3,
    backend: Backend = "auto",
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a mesh, semi-transparent and in one colour (RGB, 0 to 1), laid over a photograph.

    `vertices` (V, 3) are metres in the camera frame of `image` (H, W, 3), whose pinhole is `intrinsics`.
    """
    height, width = image.shape[:2]
    colours = np.broadcast_to(np.asarray(colour, dtype=np.float64), (len(vertices), 3))
    drawn = render(vertices, faces, colours, intrinsics, width, height, supersample=supersample, backend=backend)
    blended = drawn.over(image.astype(np.float32) / 255.0, opacity)
    return np.clip(blended * 255.0 + 0.5, 0, 255).astype(np.uint8)


@njit(cache=True)
def vertex_normals(vertices, faces):  # type: ignore[no-untyped-def]
    """(V, 3) unit normals: the mean of the adjoining faces' normals, weighted by area; zeros for unused vertices."""
    normals = np.zeros(vertices.shape, dtype=np.float64)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        # The cross product's length is twice the area, which is the weight wanted.
        px, py, pz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        qx, qy, qz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        x, y, z = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
        for corner in (a, b, c):
            normals[corner, 0] += x
            normals[corner, 1] += y
            normals[corner, 2] += z
    for i in range(normals.shape[0]):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2)
        if length > 0:
            normals[i] /= length
    return normals


@njit(cache=True)
def _shade(face, barycentric, vertices, faces, normals, colours, per_vertex, towards, ambient):  # type: ignore[no-untyped-def]
    height, width = face.shape
    out = np.zeros((height, width, 3), dtype=np.float32)
    for row in range(height):
        for column in range(width):
            f = face[row, column]
            if f < 0:
                continue
            nx = ny = nz = px = py = pz = red = green = blue = 0.0
            for corner in range(3):
                i = faces[f, corner]
                weight = barycentric[row, column, corner]
                nx += weight * normals[i, 0]
                ny += weight * normals[i, 1]
                nz += weight * normals[i, 2]
                px += weight * vertices[i, 0]
                py += weight * vertices[i, 1]
                pz += weight * vertices[i, 2]
                source = i if per_vertex else f
                red += weight * colours[source, 0]
                green += weight * colours[source, 1]
                blue += weight * colours[source, 2]
            length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
            cosine = (nx * towards[0] + ny * towards[1] + nz * towards[2]) / length
            if nx * px + ny * py + nz * pz > 0:  # the back of the face is seen: light it as a front
                cosine = -cosine
            brightness = ambient + (1.0 - ambient) * max(cosine, 0.0)
            out[row, column, 0] = red * brightness
            out[row, column, 1] = green * brightness
            out[row, column, 2] = blue * brightness
    return out
