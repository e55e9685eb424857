"""Which face of a mesh is seen through which pixel, and how far away: a z-buffer compiled by numba.

A z-buffer over bounding boxes beats every general renderer at our sizes (pictures of 64 to 512 px, one to fourteen
thousand vertices), needs no GL library and gives the same bits on every run, which the synthetic data rely on.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.cameras import Intrinsics

Backend = Literal["numba", "pytorch3d", "auto"]

#: Rounding makes a pixel centre on a shared edge miss both of its faces; this much slack closes the crack.
EDGE_SLACK = 1e-9


@dataclass(frozen=True)
class Raster:
    """What every pixel of a picture of `height` × `width` sees."""

    depth: NDArray[np.float32]
    """(H, W), metres along the camera's z axis; infinity where no face is seen."""
    face: NDArray[np.int32]
    """(H, W), row of `faces`; -1 where no face is seen."""
    barycentric: NDArray[np.float32]
    """(H, W, 3), perspective-correct weights of the seen face's corners; zeros where no face is seen."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W), whether the mesh is seen."""
        return self.face >= 0


@cache
def pytorch3d_is_installed() -> bool:
    """Whether the optional pytorch3d backend can be used here."""
    return importlib.util.find_spec("pytorch3d") is not None


def check_mesh(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> None:
    """Raise ValueError where a mesh can't be drawn (wrong shape, indices out of range, numbers that are not finite)."""
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices must have shape (V, 3), not {vertices.shape}")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"faces must have shape (F, 3), not {faces.shape}")
    if faces.size and (int(faces.min()) < 0 or int(faces.max()) >= len(vertices)):
        raise ValueError(f"faces name vertices {faces.min()} to {faces.max()}, but there are only {len(vertices)}")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{int((~np.isfinite(vertices)).any(axis=1).sum())} vertices are not finite")


def rasterise(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    intrinsics: Intrinsics,
    width: int,
    height: int,
    *,
    near: float = 0.05,
    backend: Backend = "numba",
) -> Raster:
    """Find the nearest face behind every pixel centre.

    Args:
        vertices: (V, 3), metres, camera frame (x right, y down, z forward).
        faces: (F, 3), rows of `vertices`; both sides of a face are seen.
        intrinsics: pinhole in pixels.
        width, height: of the picture, pixels.
        near: metres; a face with a corner nearer than this (or behind the camera) is left out whole.
        backend: "numba" (the same bits everywhere), "pytorch3d", or "auto" for pytorch3d where it is installed.

    Raises:
        ValueError: if the mesh can't be drawn; see `check_mesh`.
    """
    check_mesh(vertices, faces)
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width} × {height} pixels can't be drawn")
    if near <= 0:
        raise ValueError(f"near must be positive, not {near} m: a point at the camera has no projection")
    if backend == "pytorch3d" or (backend == "auto" and pytorch3d_is_installed()):
        from models.rendering.pytorch3d_backend import rasterise_with_pytorch3d

        depth, face, barycentric = rasterise_with_pytorch3d(vertices, faces, intrinsics, width, height, near)
    else:
        depth, face, barycentric = _fill(
            np.ascontiguousarray(vertices, dtype=np.float64),
            np.ascontiguousarray(faces, dtype=np.int64),
            float(intrinsics[0]),
            float(intrinsics[1]),
            float(intrinsics[2]),
            float(intrinsics[3]),
            width,
            height,
            float(near),
        )
    return Raster(depth, face, barycentric)


@njit(cache=True)
def _fill(vertices, faces, fx, fy, cx, cy, width, height, near):  # type: ignore[no-untyped-def]
    depth = np.full((height, width), np.inf, dtype=np.float32)
    face = np.full((height, width), -1, dtype=np.int32)
    barycentric = np.zeros((height, width, 3), dtype=np.float32)
    nearest = np.full((height, width), np.inf, dtype=np.float64)
    count = vertices.shape[0]
    u = np.empty(count, dtype=np.float64)
    v = np.empty(count, dtype=np.float64)
    for i in range(count):
        z = vertices[i, 2]
        if z >= near:
            u[i] = fx * vertices[i, 0] / z + cx
            v[i] = fy * vertices[i, 1] / z + cy
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = vertices[a, 2], vertices[b, 2], vertices[c, 2]
        if za < near or zb < near or zc < near:
            continue
        area = (u[b] - u[a]) * (v[c] - v[a]) - (u[c] - u[a]) * (v[b] - v[a])
        if abs(area) < 1e-12:  # seen edge-on
            continue
        # Clamped before the conversion to integers: a corner just beyond `near` may project billions of pixels away.
        left = int(np.ceil(min(max(min(u[a], u[b], u[c]) - 0.5, 0.0), float(width))))
        right = int(np.floor(max(min(max(u[a], u[b], u[c]) - 0.5, width - 1.0), -1.0)))
        top = int(np.ceil(min(max(min(v[a], v[b], v[c]) - 0.5, 0.0), float(height))))
        bottom = int(np.floor(max(min(max(v[a], v[b], v[c]) - 0.5, height - 1.0), -1.0)))
        over_area, over_za, over_zb, over_zc = 1.0 / area, 1.0 / za, 1.0 / zb, 1.0 / zc
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                wa = ((u[b] - x) * (v[c] - y) - (u[c] - x) * (v[b] - y)) * over_area
                wb = ((u[c] - x) * (v[a] - y) - (u[a] - x) * (v[c] - y)) / area
                wc = 1.0 - wa - wb
                if wa < -EDGE_SLACK or wb < -EDGE_SLACK or wc < -EDGE_SLACK:
                    continue
                # 1/z, not z, is linear over the picture; the same holds for the weights divided by z.
                wa, wb, wc = wa * over_za, wb * over_zb, wc * over_zc
                z = 1.0 / (wa + wb + wc)
                if z < nearest[row, column]:
                    nearest[row, column] = z
                    depth[row, column] = z
                    face[row, column] = f
                    barycentric[row, column, 0] = wa * z
                    barycentric[row, column, 1] = wb * z
                    barycentric[row, column, 2] = wc * z
    return depth, face, barycentric
