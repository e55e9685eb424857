"""What a file of SMPL's format says of a body: its arrays, completed, and their digest. No torch is needed for it.

Two free bodies come with the project, "tiny" (1,229 vertices) and "full" (13,718). `models.bodies` poses them.
"""

import functools
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import skeleton
from models.body_files import Arrays, Gender, find_body, read_arrays_file
from schemas.errors import DataError

DATA = Path(__file__).parent / "data"
BUILT_IN = {"tiny": DATA / "body_tiny.npz", "full": DATA / "body_full.npz"}
SMPL_VERTICES, SMPL_LEAF_VERTICES = 6890, (411, 2445, 5905, 3216, 6617)
_POSE_FEATURES = 9 * (skeleton.SMPL_JOINTS - 1)


def body_file(name_or_path: str | Path, gender: Gender = "neutral") -> Path:
    """The file of the body called "tiny" or "full", or of the one that a path names.

    A file is an official .pkl, or a .npz with the same arrays; a folder is one of published bodies, of which `gender`
    takes SMPL_NEUTRAL, SMPL_MALE or SMPL_FEMALE (for a file or a name, `gender` does not count). Raises DataError where
    there is none.
    """
    path = BUILT_IN.get(str(name_or_path), Path(name_or_path))
    if path.is_dir():
        path = find_body(path, "smpl", gender)
    if not path.is_file():
        names = ", ".join(BUILT_IN)
        raise DataError(
            f"no body called {str(name_or_path)!r}: give {names}, the path of a body file (.pkl or .npz) in SMPL's "
            "format, or a folder of published bodies"
        )
    return path


def version_of(path: Path) -> tuple[Path, int, int]:
    """What makes a file that was replaced another entry of a cache: path, time of change, size."""
    state = path.stat()
    return path.resolve(), state.st_mtime_ns, state.st_size


def body_digest(name_or_path: str | Path = "tiny", gender: Gender = "neutral") -> str:
    """The digest of that body (`models.bodies.Body.digest`). Raises DataError as `read_arrays` does."""
    return _digest(*version_of(body_file(name_or_path, gender)))


@functools.lru_cache(maxsize=8)
def _digest(path: Path, changed: int, size: int) -> str:
    return digest_of(read_arrays(path))


def read_arrays(path: Path) -> Arrays:
    """Reads a file of SMPL's format and completes it: what is stored sparsely becomes dense, what is left out is zero.

    v_template (V, 3), shapedirs (V, 3, 10), posedirs (V, 3, 207), J_regressor (24, V), weights (V, 24),
    kintree_table (2, 24), f (F, 3), leaf_vertices (5,), vertex_regions (V,). Raises DataError.
    """
    arrays: Arrays = dict(read_arrays_file(path))

    def need(key: str) -> NDArray[np.generic]:
        if key not in arrays:
            raise DataError(f"{path} lacks {key!r}, which a body in SMPL's format has")
        return arrays[key]

    template = np.asarray(need("v_template"), np.float32)
    count = len(template)
    if count == skeleton.SMPLX_VERTICES and "leaf_vertices" not in arrays:
        raise DataError(
            f"{path} holds an SMPL-X body, but hypotheses pose bodies of SMPL's 24 joints: give the SMPL file of the "
            "same folder (SMPL_NEUTRAL.pkl)"
        )
    if "J_regressor" not in arrays and "J_regressor_index" in arrays:
        regressor = np.zeros((skeleton.SMPL_JOINTS, count), np.float32)
        row, column = np.asarray(arrays["J_regressor_index"], np.int64)
        regressor[row, column] = need("J_regressor_value")
        arrays["J_regressor"] = regressor
    if "weights" not in arrays and "weights_index" in arrays:
        weights = np.zeros((count, skeleton.SMPL_JOINTS), np.float32)
        np.put_along_axis(weights, arrays["weights_index"].astype(np.int64), need("weights_value"), 1)
        arrays["weights"] = weights
    if "leaf_vertices" not in arrays:
        if count != SMPL_VERTICES:
            raise DataError(
                f"{path} has {count} vertices and no 'leaf_vertices': add the indices of the five leaf joints"
            )
        arrays["leaf_vertices"] = np.array(SMPL_LEAF_VERTICES, np.int64)
    arrays.setdefault("vertex_regions", np.zeros(count, np.uint8))
    arrays.setdefault("posedirs", np.zeros((1, 1, 1), np.float32))
    if arrays["posedirs"].shape == (1, 1, 1):  # how the bodies of this project say that all are zero
        arrays["posedirs"] = np.broadcast_to(arrays["posedirs"], (count, 3, _POSE_FEATURES))
    arrays["shapedirs"] = np.asarray(need("shapedirs"))[..., : skeleton.BETAS]
    shapes = {
        "v_template": (count, 3),
        "shapedirs": (count, 3, skeleton.BETAS),
        "posedirs": (count, 3, _POSE_FEATURES),
        "J_regressor": (skeleton.SMPL_JOINTS, count),
        "weights": (count, skeleton.SMPL_JOINTS),
        "kintree_table": (2, skeleton.SMPL_JOINTS),
        "leaf_vertices": (len(skeleton.LEAF_PARENTS),),
        "vertex_regions": (count,),
    }
    for key, shape in shapes.items():
        if need(key).shape != shape:
            raise DataError(
                f"{path}: {key!r} has shape {arrays[key].shape}, but a body of {count} vertices needs {shape}"
            )
    for key in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights"):
        if not np.isfinite(np.asarray(arrays[key])).all():
            raise DataError(f"{path}: {key!r} holds NaN or infinity, so it is no body; get the file again")
    parents = tuple(int(p) for p in np.asarray(need("kintree_table"), np.int64)[0, 1:])
    if parents != skeleton.SMPL_PARENTS[1:]:
        raise DataError(f"{path}: the parents in 'kintree_table' are not those of SMPL's 24 joints: {parents}")
    if need("f").min() < 0 or int(need("f").max()) >= count:
        raise DataError(f"{path}: a face in 'f' names a vertex outside 0..{count - 1}")
    return arrays


def digest_of(arrays: Arrays) -> str:
    """Sha256 of all that shapes a body: equal digests pose equal bodies.

    Over the completed arrays in float32 and int64, so that sparse and dense files of one body agree."""
    total = hashlib.sha256()
    for key in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights"):
        value = np.asarray(arrays[key], np.float32)
        total.update(f"{key} {value.shape} ".encode())
        total.update(value.tobytes() if value.any() else b"zero")
    for key in ("f", "leaf_vertices", "vertex_regions"):
        whole = np.asarray(arrays[key], np.int64)
        total.update(f"{key} {whole.shape} ".encode() + whole.tobytes())
    return total.hexdigest()
