"""The same z-buffer by pytorch3d, where it is installed (worth it for large pictures on a GPU).

pytorch3d's screen has x to the left, y up, and the shorter side of the picture spanning [-1, 1].
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.structures import Meshes

from models.cameras import Intrinsics


def rasterise_with_pytorch3d(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    intrinsics: Intrinsics,
    width: int,
    height: int,
    near: float,
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Depth (H, W) m, face index (H, W), perspective-correct weights (H, W, 3): the meaning of `rasterise`."""
    visible = np.flatnonzero((vertices[faces, 2] >= near).all(axis=1))
    if len(visible) == 0:
        nothing = np.full((height, width), -1, np.int32)
        return np.full((height, width), np.inf, np.float32), nothing, np.zeros((height, width, 3), np.float32)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    points = torch.as_tensor(np.asarray(vertices, np.float32), device=device)
    z = points[:, 2].clamp(min=near)
    short = min(width, height)
    x = (width - 2 * (intrinsics[0] * points[:, 0] / z + intrinsics[2])) / short
    y = (height - 2 * (intrinsics[1] * points[:, 1] / z + intrinsics[3])) / short
    corners = torch.as_tensor(np.asarray(faces[visible], np.int64), device=device)
    meshes = Meshes(verts=[torch.stack([x, y, points[:, 2]], dim=1)], faces=[corners])
    rows, depth, barycentric, _ = rasterize_meshes(
        meshes, image_size=(height, width), blur_radius=0.0, faces_per_pixel=1, perspective_correct=True
    )
    index = rows[0, :, :, 0].cpu().numpy()
    hit = index >= 0
    face = np.where(hit, visible[np.where(hit, index, 0)], -1).astype(np.int32)
    metres = np.where(hit, depth[0, :, :, 0].cpu().numpy(), np.inf).astype(np.float32)
    weights = np.where(hit[..., None], barycentric[0, :, :, 0].cpu().numpy(), 0.0).astype(np.float32)
    return metres, face, weights
