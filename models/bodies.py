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
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models import skeleton
from models.body_arrays import body_file, digest_of, read_arrays, version_of
from models.body_files import Arrays, Gender

_SHAPED_AT_ONCE, _SKINNED_BYTES = 128, 3 * 2**20
"""On a CPU: bodies whose blend shapes are one product, and what the skinning of some may take to stay in the cache.
Whole batches take two to five times as long, as every number of theirs goes through memory again and again."""


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

    def __init__(self, arrays: Arrays, name: str = "body") -> None:
        """`arrays`: as `read_arrays` returns them."""
        super().__init__()
        self.name = name
        self.digest = digest_of(arrays)
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

    `name_or_path` and `gender` as of `body_file`. The same object is returned as long as the file stays the same: for
    another device, move a `copy.deepcopy` of it. Raises DataError where the file is missing, unreadable, unsafe, or
    lacks what a body needs.
    """
    return _load(*version_of(body_file(name_or_path, gender)))


@functools.lru_cache(maxsize=8)
def _load(path: Path, changed: int, size: int) -> Body:
    """`changed` and `size` make a file that was replaced another entry of the cache."""
    return Body(read_arrays(path), path.stem).eval()


def smplx_model(arrays: Arrays) -> Any:
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
