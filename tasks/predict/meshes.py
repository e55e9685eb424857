"""Meshes as glTF (.glb), a file for each picture with all of its people.

glTF has y up and z towards the viewer, our camera frame y down and z away: half a turn around x leads from one to the
other. Metres stay metres. The camera is at the origin and looks along -z, as a camera of glTF does.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError

_HALF_TURN = np.array([1.0, -1.0, -1.0])


def in_gltf(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Points (..., 3) of the camera frame in glTF's, and the other way round: the map is its own inverse."""
    turned: NDArray[np.float32] = (points * _HALF_TURN).astype(np.float32)
    return turned


def write_glb(file: Path, meshes: Mapping[str, NDArray[np.floating]], faces: NDArray[np.integer]) -> None:
    """Write meshes, by their names: vertices (V, 3) in the camera frame, metres. Raises as `check_trimesh`."""
    trimesh = check_trimesh()
    scene: Any = trimesh.Scene()
    for name, vertices in meshes.items():
        mesh = trimesh.Trimesh(in_gltf(vertices), faces, process=False)
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    file.write_bytes(scene.export(file_type="glb", include_normals=True))


def read_glb(file: Path) -> dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Vertices (V, 3) in the camera frame, metres, and faces (F, 3) of each mesh of a file, by its name."""
    scene: Any = check_trimesh().load_scene(file, process=False)
    return {
        name: (in_gltf(np.asarray(mesh.vertices)), np.asarray(mesh.faces, np.int64))
        for name, mesh in scene.geometry.items()
    }


def check_trimesh() -> ModuleType:
    """The library. Raises DataError where it isn't installed."""
    try:
        import trimesh
    except ImportError as error:
        raise DataError(
            'Meshes are written with trimesh, which is not installed. Install it with: pip install "adhmr-engine[mesh]"'
        ) from error
    module: ModuleType = trimesh
    return module
