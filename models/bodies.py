"""Bodies: from rotations and betas to a posed mesh and the 29 joints (SMPL, Loper et al. 2015).

Two free bodies come with the project, "tiny" (1,229 vertices) and "full" (13,718); both take the same betas. Official
SMPL files load as they are, by their path or by the folder that they are published in; so does any other file in SMPL's
format. The SMPL files are for non-commercial research only by their own licence. `smplx` reads the model; posing is
done here, because the thousands of small bodies of a round need neither pose blend shapes that are all zero nor
vertices where only joints are asked for. SMPL-X has a module of its own (`models.smplx_body`).
"""

import contextlib
import copy
import functools
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import skeleton
from models.body_files import Gender, find_body, read_arrays_file
from models.joint_sets import SMPLX_VERTICES
from schemas.errors import DataError

DATA = Path(__file__).parent / "data"
BUILT_IN = {"tiny": DATA / "body_tiny.npz", "full": DATA / "body_full.npz"}
SMPL_VERTICES, SMPL_LEAF_VERTICES = 6890, (411, 2445, 5905, 3216, 6617)
_POSE_FEATURES = 9 * (skeleton.SMPL_JOINTS - 1)
_SHAPED_AT_ONCE, _SKINNED_BYTES = 128, 3 * 2**20
"""On a CPU: bodies whose blend shapes are one product, and what the skinning of some may take to stay in the cache.
Whole batches take two to five times as long, as every number of theirs goes through memory again and again."""
_Arrays = dict[str, NDArray[np.generic]]


class BodyOutput(NamedTuple):
    """A posed body, in metres, in the frame of the root rotation."""

    vertices: Tensor
    """(B, V, 3)"""
    joints: Tensor
    """(B, 29, 3)"""


class PosedPart(NamedTuple):
    """Some bodies of a batch, posed."""

    rows: slice
    """Which of the batch."""
    vertices: Tensor
    """(B, 3, V) by coordinate."""
    joints: Tensor
    """(B, 29, 3)"""


class Body(nn.Module):
    """A body model on one device, without parameters to learn. Get one with `load_body`.

    The model's own frame has y up and the person looking along +z. A camera frame has y down: the root rotation
    carries that flip (about pi around x), as in published labels.
    """

    faces: Tensor  # (F, 3) int64
    regions: Tensor  # (V,) uint8: 0 skin (a mesh without regions has it all over), 1 top, 2 trousers, 3 shoes, 4 hair
    leaf_vertices: Tensor  # (5,) int64
    v_template: Tensor  # (V, 3)
    # By coordinate: x of all vertices, then y, then z. So posed vertices come in long rows that a CPU adds up at once.
    template: Tensor  # (3 * V)
    shapedirs: Tensor  # (10, 3 * V)
    posedirs: Tensor  # (207, 3 * V), or (0, 3 * V) where they are all zero
    weights: Tensor  # (24, V)
    joint_template: Tensor  # (29, 3)
    joint_shapedirs: Tensor  # (10, 29 * 3)

    def __init__(self, arrays: _Arrays, name: str = "body") -> None:
        """`arrays`: as `read_arrays` returns them."""
        super().__init__()
        self.name = name
        self.digest = _digest(arrays)
        """sha256 of all that shapes the body: equal digests pose equal bodies."""
        model = smplx_model(arrays)
        leaves = torch.as_tensor(np.asarray(arrays["leaf_vertices"], np.int64))
        shapedirs = model.shapedirs.permute(2, 0, 1).contiguous()
        posedirs = model.posedirs if model.posedirs.any() else model.posedirs[:0]
        rest = torch.cat([model.J_regressor @ model.v_template, model.v_template[leaves]])
        rest_shape = torch.cat([model.J_regressor @ shapedirs, shapedirs[:, leaves]], 1)
        buffers = {
            "faces": model.faces_tensor,
            "regions": torch.as_tensor(np.asarray(arrays["vertex_regions"], np.uint8)),
            "leaf_vertices": leaves,
            "v_template": model.v_template,
            "template": model.v_template.T.flatten(),
            "shapedirs": shapedirs.mT.flatten(1),
            "posedirs": posedirs.unflatten(1, (-1, 3)).mT.flatten(1),
            "weights": model.lbs_weights.T.contiguous(),
            "joint_template": rest,
            "joint_shapedirs": rest_shape.flatten(1),
        }
        for key, value in buffers.items():
            self.register_buffer(key, value.detach().clone(), persistent=False)
        self.vertex_count = len(self.v_template)

    def forward(self, rotations: Tensor, betas: Tensor, transl: Tensor | None = None) -> BodyOutput:
        """Poses a batch of bodies.

        rotations: (B, 24, 3, 3), each relative to the joint's parent, the first the root's own.
        betas: (B, 10). transl: (B, 3) metres, added to everything.
        """
        vertices = betas.new_empty(len(betas), self.vertex_count, 3)
        joints = betas.new_empty(len(betas), skeleton.JOINTS, 3)
        for part in self.posed(rotations, betas):
            vertices[part.rows], joints[part.rows] = part.vertices.mT, part.joints
        if transl is not None:
            vertices, joints = vertices + transl[:, None], joints + transl[:, None]
        return BodyOutput(vertices, joints)

    def posed(self, rotations: Tensor, betas: Tensor) -> Iterator[PosedPart]:
        """The same bodies, some at a time: for what is made of vertices and needs no more than a few meshes at once."""
        turn, shift, placed = _chain(rotations, self.rest_joints(betas)[:, : skeleton.SMPL_JOINTS])
        affine = torch.cat([turn, shift[..., None]], -1).flatten(2).mT
        on_cpu = betas.device.type == "cpu"
        skinned = max(1, _SKINNED_BYTES // (48 * self.vertex_count)) if on_cpu else len(betas)
        for many in _slices(0, len(betas), _SHAPED_AT_ONCE if on_cpu else len(betas)):
            shaped = torch.addmm(self.template, betas[many], self.shapedirs)
            if len(self.posedirs):
                shaped = shaped + _pose_features(rotations[many]) @ self.posedirs
            shaped = shaped.view(-1, 3, self.vertex_count)
            for few in _slices(many.start, many.stop, skinned):
                vertices = _skin(self.weights, affine[few], shaped[few.start - many.start : few.stop - many.start])
                yield PosedPart(few, vertices, torch.cat([placed[few], vertices[..., self.leaf_vertices].mT], 1))

    def joints(self, rotations: Tensor, betas: Tensor, transl: Tensor | None = None) -> Tensor:
        """The 29 joints alone (B, 29, 3): the same numbers as `forward`, without the other vertices."""
        rest = self.rest_joints(betas)
        leaves = rest[:, skeleton.SMPL_JOINTS :]
        if len(self.posedirs):
            directions = self.posedirs.unflatten(1, (3, -1))[..., self.leaf_vertices].mT.flatten(1)
            leaves = leaves + (_pose_features(rotations) @ directions).view_as(leaves)
        turn, shift, placed = _chain(rotations, rest[:, : skeleton.SMPL_JOINTS])
        affine = torch.cat([turn, shift[..., None]], -1).flatten(2).mT
        joints = torch.cat([placed, _skin(self.weights[:, self.leaf_vertices], affine, leaves.mT).mT], 1)
        return joints if transl is None else joints + transl[:, None]

    def on(self, device: torch.device) -> "Body":
        """This body where it is there already, else a copy on `device`."""
        return self if self.template.device == device else copy.deepcopy(self).to(device)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """The 29 joints of the T-pose (B, 29, 3), metres, for betas (B, 10)."""
        flat = torch.addmm(self.joint_template.flatten(), betas, self.joint_shapedirs)
        return flat.view(-1, skeleton.JOINTS, 3)


def _pose_features(rotations: Tensor) -> Tensor:
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return (rotations[:, 1:] - identity).flatten(1)


def _chain(rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Forward kinematics: world rotations (B, 24, 3, 3), the shift of skinning (B, 24, 3), joint places (B, 24, 3)."""
    turn: list[Tensor] = [rotations[:, 0]]
    place: list[Tensor] = [rest[:, 0]]
    for joint in range(1, skeleton.SMPL_JOINTS):
        parent = skeleton.SMPL_PARENTS[joint]
        bone = rest[:, joint] - rest[:, parent]
        place.append(place[parent] + (turn[parent] @ bone[..., None])[..., 0])
        turn.append(turn[parent] @ rotations[:, joint])
    turns, places = torch.stack(turn, 1), torch.stack(place, 1)
    return turns, places - (turns @ rest[..., None])[..., 0], places


def _skin(weights: Tensor, affine: Tensor, points: Tensor) -> Tensor:
    """Linear blend skinning: weights (24, V), affine (B, 12, 24), points (B, 3, V) -> (B, 3, V)."""
    blended = (affine.reshape(-1, len(weights)) @ weights).view(-1, 3, 4, weights.shape[1])
    # Written out by columns: as a matrix product of single 3x3 blocks this takes several times as long on a CPU.
    turned = blended[:, :, 0] * points[:, 0, None]
    turned += blended[:, :, 1] * points[:, 1, None]
    turned += blended[:, :, 2] * points[:, 2, None]
    turned += blended[:, :, 3]
    return turned


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for first in range(start, stop, max(step, 1)):
        yield slice(first, min(first + step, stop))


def load_body(name_or_path: str | Path = "tiny", gender: Gender = "neutral") -> Body:
    """The body called "tiny" or "full", or the one in a file of SMPL's format; on the CPU, read only once.

    A file is an official .pkl, or a .npz with the same arrays; a folder is one of published bodies, of which `gender`
    takes SMPL_NEUTRAL, SMPL_MALE or SMPL_FEMALE (for a file or a name, `gender` does not count). The same object is
    returned as long as the file stays the same: for another device, move a `copy.deepcopy` of it. Raises DataError
    where the file is missing, unreadable, unsafe, or lacks what a body needs.
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
    state = path.stat()
    return _load(path.resolve(), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=8)
def _load(path: Path, changed: int, size: int) -> Body:
    """`changed` and `size` make a file that was replaced another entry of the cache."""
    return Body(read_arrays(path), path.stem).eval()


def read_arrays(path: Path) -> _Arrays:
    """Reads a file of SMPL's format and completes it: what is stored sparsely becomes dense, what is left out is zero.

    v_template (V, 3), shapedirs (V, 3, 10), posedirs (V, 3, 207), J_regressor (24, V), weights (V, 24),
    kintree_table (2, 24), f (F, 3), leaf_vertices (5,), vertex_regions (V,). Raises DataError.
    """
    arrays: _Arrays = dict(read_arrays_file(path))

    def need(key: str) -> NDArray[np.generic]:
        if key not in arrays:
            raise DataError(f"{path} lacks {key!r}, which a body in SMPL's format has")
        return arrays[key]

    template = np.asarray(need("v_template"), np.float32)
    count = len(template)
    if count == SMPLX_VERTICES and "leaf_vertices" not in arrays:
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


def smplx_model(arrays: _Arrays) -> Any:
    """The same body as an `smplx.SMPL`; its five extra joints are the leaves, so that it too returns 29 joints."""
    import smplx
    from smplx.utils import Struct

    fields = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
    struct = Struct(**{key: np.asarray(arrays[key]) for key in fields})
    struct.kintree_table = np.asarray(struct.kintree_table, np.int64)
    # The selector asks for these five landmarks of the face; it uses them as vertex indices only, in this order.
    landmarks = ("nose", "reye", "leye", "rear", "lear")
    vertex_ids = dict(zip(landmarks, np.asarray(arrays["leaf_vertices"]).tolist(), strict=True))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that ten betas are few
        model = smplx.SMPL(
            "", data_struct=struct, vertex_ids=vertex_ids, use_hands=False, use_feet_keypoints=False, create_betas=False
        )
    return model.requires_grad_(False)


def _digest(arrays: _Arrays) -> str:
    """Over the completed arrays in float32 and int64, so that sparse and dense files of one body agree."""
    total = hashlib.sha256()
    for key in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights"):
        value = np.asarray(arrays[key], np.float32)
        total.update(f"{key} {value.shape} ".encode())
        total.update(value.tobytes() if value.any() else b"zero")
    for key in ("f", "leaf_vertices", "vertex_regions"):
        whole = np.asarray(arrays[key], np.int64)
        total.update(f"{key} {whole.shape} ".encode() + whole.tobytes())
    return total.hexdigest()
