"""The rasteriser against brute force, and what reports and synthetic data rely on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.bodies import load_body
from models.cameras import Intrinsics
from models.rendering.raster import rasterise
from models.rendering.shading import Light, _block_means, overlay, render, vertex_normals

pytestmark = pytest.mark.filterwarnings("error")

SIZE = 64
CAMERA = Intrinsics(80.0, 80.0, SIZE / 2, SIZE / 2)
Mesh = tuple[NDArray[np.float64], NDArray[np.int64]]


def facing_body(yaw: float = 0.0) -> Mesh:
    """The tiny body in its rest pose, 2.6 m away, looking at the camera (turned to its left by `yaw` radians)."""
    body = load_body("tiny")
    rotations = torch.eye(3).repeat(1, 24, 1, 1)
    turn = torch.tensor(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]], dtype=torch.float32
    )
    rotations[0, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn
    output = body(rotations, torch.zeros(1, 10), torch.tensor([[0.05, 0.1, 2.6]]))
    return output.vertices[0].numpy().astype(np.float64), body.faces.numpy()


def cast_rays(mesh: Mesh, camera: Intrinsics, size: int) -> NDArray[np.float64]:
    """(size, size) depth by testing every ray against every face (Möller and Trumbore 1997)."""
    vertices, faces = mesh
    rows, columns = np.mgrid[0:size, 0:size] + 0.5
    rays = np.stack([(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones_like(rows)], -1)
    rays = rays.reshape(-1, 1, 3)
    origin = vertices[faces[:, 0]]
    first, second = vertices[faces[:, 1]] - origin, vertices[faces[:, 2]] - origin
    depth = np.full(size * size, np.inf)
    for chunk in np.array_split(np.arange(size * size), 16):
        p = np.cross(rays[chunk], second)
        determinant = (first * p).sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (-origin * p).sum(-1) / determinant
            q = np.cross(-origin, first)
            v = (rays[chunk] * q).sum(-1) / determinant
            t = (second * q).sum(-1) / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        depth[chunk] = np.where(hit, t, np.inf).min(1)
    return depth.reshape(size, size)


@pytest.mark.slow
@pytest.mark.parametrize("yaw", [0.0, 1.0])
def test_agrees_with_ray_casting(yaw: float) -> None:
    mesh = facing_body(yaw)
    raster = rasterise(*mesh, CAMERA, SIZE, SIZE)
    truth = cast_rays(mesh, CAMERA, SIZE)
    seen = np.isfinite(truth)
    assert seen.sum() > 300
    assert (seen & raster.mask).sum() / (seen | raster.mask).sum() >= 0.99
    both = seen & raster.mask
    assert np.abs(raster.depth[both] - truth[both]).max() <= 1e-3
    assert np.isinf(raster.depth[~raster.mask]).all()


def test_barycentric_weights_rebuild_the_point_that_is_seen() -> None:
    vertices, faces = facing_body(0.5)
    raster = rasterise(vertices, faces, CAMERA, SIZE, SIZE)
    rows, columns = np.nonzero(raster.mask)
    weights = raster.barycentric[rows, columns][..., None]
    points = (weights * vertices[faces[raster.face[rows, columns]]]).sum(1)
    assert np.allclose(CAMERA.fx * points[:, 0] / points[:, 2] + CAMERA.cx, columns + 0.5, atol=1e-3)
    assert np.allclose(CAMERA.fy * points[:, 1] / points[:, 2] + CAMERA.cy, rows + 0.5, atol=1e-3)
    assert np.allclose(points[:, 2], raster.depth[rows, columns], atol=1e-5)


def test_left_is_left_and_up_is_up() -> None:
    """Somebody who faces the camera has the left hand on the right of the picture, and the head at its top."""
    vertices, faces = facing_body()
    template = load_body("tiny").v_template.numpy()
    colours = np.zeros_like(template)
    colours[template[:, 0] > 0.3, 0] = 1  # left arm red
    colours[template[:, 0] < -0.3, 2] = 1  # right arm blue
    colours[template[:, 1] > 0.4, 1] = 1  # head green
    drawn = render(vertices, faces, colours, CAMERA, SIZE, SIZE, light=Light(ambient=1.0)).colour
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]

    def centre(channel: int) -> tuple[float, float]:
        weight = drawn[..., channel] > 0.5
        assert weight.sum() > 10
        return float(columns[weight].mean()), float(rows[weight].mean())

    assert centre(0)[0] > SIZE / 2 + 8
    assert centre(2)[0] < SIZE / 2 - 8
    assert centre(1)[1] < min(centre(0)[1], centre(2)[1])


def test_depth_is_perspective_correct_on_a_steep_floor() -> None:
    """A floor 1 m below the camera: depth at row v is fy · 1 m / (v − cy), far from linear between its corners."""
    floor = np.array([[-9, 1, 1.0], [9, 1, 1.0], [9, 1, 60], [-9, 1, 60]])
    raster = rasterise(floor, np.array([[0, 1, 2], [0, 2, 3]]), CAMERA, SIZE, SIZE)
    rows, _ = np.nonzero(raster.mask)
    assert len(rows) > 500
    assert np.allclose(raster.depth[raster.mask], CAMERA.fy / (rows + 0.5 - CAMERA.cy), rtol=1e-5)


def test_no_cracks_between_neighbours_and_pixels_are_where_the_convention_says() -> None:
    """A square from x = 8 to 24 and y = 16 to 40 pixels covers exactly these columns and rows, in many triangles."""
    u, v = np.meshgrid(np.linspace(8, 24, 14), np.linspace(16, 40, 11))
    z = 3 + 0.3 * np.sin(u + v)
    grid = np.stack([(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z], -1).reshape(-1, 3)
    corner = (np.arange(10)[:, None] * 14 + np.arange(13)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 14], 1), np.stack([corner + 1, corner + 15, corner + 14], 1)]
    )
    expected = np.zeros((SIZE, SIZE), bool)
    expected[16:40, 8:24] = True
    assert (rasterise(grid, faces, CAMERA, SIZE, SIZE).mask == expected).all()


def test_the_nearer_face_wins_whatever_the_order() -> None:
    triangle = np.array([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]])
    vertices = np.concatenate([triangle + np.array([0, 0, z]) for z in (3, 2)])
    for faces, nearest in ((np.array([[0, 1, 2], [3, 4, 5]]), 1), (np.array([[3, 4, 5], [0, 1, 2]]), 0)):
        assert rasterise(vertices, faces, CAMERA, SIZE, SIZE).face[SIZE // 2, SIZE // 2] == nearest


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), shift=st.floats(-2, 2))
def test_anything_around_the_camera_is_drawn_safely(seed: int, shift: float) -> None:
    generator = np.random.default_rng(seed)
    vertices = generator.normal(size=(12, 3)) + np.array([0, 0, shift])
    faces = generator.integers(0, 12, size=(20, 3))
    raster = rasterise(vertices, faces, CAMERA, 16, 24, near=0.1)
    assert raster.depth.shape == (24, 16)
    assert (raster.depth[raster.mask] >= 0.1 - 1e-6).all()
    assert (vertices[faces[raster.face[raster.mask]], 2] >= 0.1).all()
    sums = raster.barycentric[raster.mask].sum(-1)
    assert np.allclose(sums, 1, atol=1e-4)


def test_a_body_behind_the_camera_is_not_seen() -> None:
    vertices, faces = facing_body()
    assert not rasterise(vertices * [1, 1, -1], faces, CAMERA, SIZE, SIZE).mask.any()


def test_normals_point_outwards_or_the_light_would_come_from_behind() -> None:
    corners = np.array([[0.0, 0, 2], [1, 0, 2], [0, 1, 2]])
    assert np.allclose(vertex_normals(corners, np.array([[0, 1, 2]])), [[0, 0, 1]] * 3)
    for faces in (np.array([[0, 1, 2]]), np.array([[0, 2, 1]])):  # both sides are lit as fronts
        drawn = render(corners, faces, np.ones((1, 3)), CAMERA, SIZE, SIZE, light=Light((0, 0, -1), ambient=0.25))
        assert np.allclose(drawn.colour[drawn.coverage > 0], 1, atol=1e-5)
        shadow = render(corners, faces, np.ones((1, 3)), CAMERA, SIZE, SIZE, light=Light((0, 0, 1), ambient=0.25))
        assert np.allclose(shadow.colour[shadow.coverage > 0], 0.25, atol=1e-5)


def test_supersampling_softens_edges_and_keeps_the_area() -> None:
    vertices, faces = facing_body()
    colours = np.ones_like(vertices)
    hard = render(vertices, faces, colours, CAMERA, SIZE, SIZE)
    soft = render(vertices, faces, colours, CAMERA, SIZE, SIZE, supersample=4)
    assert set(np.unique(hard.coverage)) == {0.0, 1.0}
    assert ((soft.coverage > 0) & (soft.coverage < 1)).sum() > 50
    assert soft.coverage.sum() == pytest.approx(hard.coverage.sum(), rel=0.05)
    assert (soft.colour <= soft.coverage[..., None] + 1e-6).all()


@pytest.mark.parametrize("side", [2, 3, 4])
def test_samples_of_a_pixel_count_alike(side: int) -> None:
    """Of colours and of coverage."""
    draw = np.random.default_rng(side)
    for shape in ((5 * side, 7 * side, 3), (5 * side, 7 * side)):
        fine = draw.random(shape).astype(np.float32)
        means = _block_means(fine, side)
        assert means.dtype == np.float32
        expected = fine.reshape(5, side, 7, side, *shape[2:]).mean(axis=(1, 3))
        np.testing.assert_allclose(means, expected, rtol=1e-6)


def test_overlay_leaves_the_rest_of_the_photograph_alone() -> None:
    vertices, faces = facing_body()
    photo = np.random.default_rng(0).integers(0, 256, size=(SIZE, SIZE, 3), dtype=np.uint8)
    laid = overlay(photo, vertices, faces, CAMERA, backend="numba")
    touched = render(vertices, faces, np.ones_like(vertices), CAMERA, SIZE, SIZE, supersample=3).coverage > 0
    assert laid.dtype == np.uint8
    assert (laid[~touched] == photo[~touched]).all()
    assert (laid[touched] != photo[touched]).any(-1).mean() > 0.9


def test_same_bits_every_time() -> None:
    mesh = facing_body(0.3)
    first, second = (render(*mesh, np.ones_like(mesh[0]), CAMERA, SIZE, SIZE) for _ in range(2))
    assert first.colour.tobytes() == second.colour.tobytes()


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((3, 2)), np.array([[0, 1, 2]]), "vertices must have shape"),
        (np.zeros((3, 3)), np.array([[0, 1, 3]]), "faces name vertices 0 to 3"),
        (np.full((3, 3), np.nan), np.array([[0, 1, 2]]), "3 vertices are not finite"),
    ],
)
def test_says_why_a_mesh_cannot_be_drawn(vertices: NDArray, faces: NDArray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rasterise(vertices, faces, CAMERA, SIZE, SIZE)


def test_says_why_colours_do_not_fit() -> None:
    vertices, faces = facing_body()
    with pytest.raises(ValueError, match="colours must be"):
        render(vertices, faces, np.ones((7, 3)), CAMERA, SIZE, SIZE)


def test_pytorch3d_sees_the_same() -> None:
    pytest.importorskip("pytorch3d")
    mesh = facing_body(0.5)
    ours = rasterise(*mesh, CAMERA, SIZE, SIZE + 16)
    theirs = rasterise(*mesh, CAMERA, SIZE, SIZE + 16, backend="pytorch3d")
    both = ours.mask & theirs.mask
    assert both.sum() / (ours.mask | theirs.mask).sum() >= 0.99
    assert np.abs(ours.depth[both] - theirs.depth[both]).max() <= 1e-3
