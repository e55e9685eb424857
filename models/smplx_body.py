"""SMPL-X bodies (Pavlakos et al., CVPR 2019): labels of bodies with hands and faces, as HMR-Scorer is trained on.

Hypotheses pose SMPL bodies (`models.bodies`); SMPL-X appears in labels alone, so that posing is left to `smplx`. The
files are for non-commercial research only by their own licence, and so is the code of `smplx`.
"""

import contextlib
import functools
import hashlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.body_files import Arrays, Gender, find_body, read_arrays_file
from models.joint_sets import HYBRIK29_OF_SMPLX
from models.skeleton import SMPLX_VERTICES
from schemas.errors import DataError

BODY_JOINTS: Final = 21
HAND_JOINTS: Final = 15
COEFFICIENTS: Final = 10
"""Of shape and of expression."""
KEYPOINTS: Final = 144
"""55 joints, 5 of the face, 6 of the feet, 10 finger tips, 51 landmarks of the face, 17 of its contour."""

_JOINTS: Final = 55
_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "v_template": (SMPLX_VERTICES, 3),
    "posedirs": (SMPLX_VERTICES, 3, 9 * (_JOINTS - 1)),
    "J_regressor": (_JOINTS, SMPLX_VERTICES),
    "weights": (SMPLX_VERTICES, _JOINTS),
    "kintree_table": (2, _JOINTS),
    "hands_meanl": (3 * HAND_JOINTS,),
    "hands_meanr": (3 * HAND_JOINTS,),
    "hands_componentsl": (3 * HAND_JOINTS, 3 * HAND_JOINTS),
    "hands_componentsr": (3 * HAND_JOINTS, 3 * HAND_JOINTS),
    "lmk_faces_idx": (51,),
    "lmk_bary_coords": (51, 3),
    "dynamic_lmk_faces_idx": (79, 17),
    "dynamic_lmk_bary_coords": (79, 17, 3),
}
_BODY29: Final = (*range(22), 28, 43)
"""Of the 144: pelvis to wrists, and the first knuckles of the middle fingers."""
_LEAVES29: Final = (68, 73, 60, 63)
"""Of the 144: tips of the middle fingers, big toes."""
_FIRST_EXPRESSION: Final = 300
"""Column of the first expression in files with 400 columns; those with 20 have it at 10."""


class SMPLXOutput(NamedTuple):
    """A posed body, in metres."""

    vertices: Tensor
    """(B, 10475, 3)"""
    keypoints: Tensor
    """(B, 144, 3), in the order of `smplx`."""

    @property
    def hybrik29(self) -> Tensor:
        """(B, 29, 3): the key-points that stand for the policy's 29 joints; see `joint_sets.HYBRIK29_OF_SMPLX`."""
        return self.keypoints[:, list(HYBRIK29_OF_SMPLX)]


class SMPLXBody(nn.Module):
    """An SMPL-X body on one device, without parameters to learn. Get one with `load_smplx_body`."""

    def __init__(self, arrays: Arrays, name: str = "smplx") -> None:
        """`arrays`: as `read_smplx_arrays` returns them."""
        super().__init__()
        self.name = name
        self.digest = _digest(arrays)
        """sha256 of all that shapes the body."""
        self.model = _model(arrays)
        self.head_top = int(np.asarray(arrays["v_template"])[:, 1].argmax())
        """The highest vertex at rest, which stands for the policy's head top."""
        self.mean_hands = tuple(torch.from_numpy(np.array(arrays[f"hands_mean{side}"], np.float32)) for side in "lr")
        """(45,) axis-angle of each hand, left first."""
        self.hand_components = tuple(
            torch.from_numpy(np.array(arrays[f"hands_components{side}"], np.float32)) for side in "lr"
        )
        """(45, 45) for each hand: row k is what component k of its PCA adds to the mean hand, axis-angle."""

    def joints29(self, posed: SMPLXOutput) -> Tensor:
        """(B, 29, 3): the policy's joints in a body of SMPL-X.

        The places are SMPL's: hands are the first knuckles of the middle fingers, leaves the head's top, the tips of
        the middle fingers, and the big toes. `SMPLXOutput.hybrik29` goes by names instead, as HMR-Scorer was trained.
        """
        head = posed.vertices[:, self.head_top, None]
        return torch.cat([posed.keypoints[:, list(_BODY29)], head, posed.keypoints[:, list(_LEAVES29)]], 1)

    def forward(
        self,
        global_orient: Tensor,
        body_pose: Tensor,
        betas: Tensor,
        transl: Tensor | None = None,
        left_hand: Tensor | None = None,
        right_hand: Tensor | None = None,
        jaw: Tensor | None = None,
        expression: Tensor | None = None,
    ) -> SMPLXOutput:
        """Poses a batch of bodies; what is not given is zero.

        global_orient, jaw: (B, 3); body_pose: (B, 21, 3); left_hand, right_hand: (B, 15, 3), all axis-angle in radians.
        Hands are relative to the model's mean hand, as in published labels. betas, expression: (B, 10). transl: (B, 3)
        metres.
        """
        count = len(betas)

        def or_zeros(value: Tensor | None, *shape: int) -> Tensor:
            return betas.new_zeros(count, *shape) if value is None else value.reshape(count, *shape)

        posed = self.model(
            betas=betas,
            global_orient=or_zeros(global_orient, 3),
            body_pose=or_zeros(body_pose, 3 * BODY_JOINTS),
            left_hand_pose=or_zeros(left_hand, 3 * HAND_JOINTS),
            right_hand_pose=or_zeros(right_hand, 3 * HAND_JOINTS),
            jaw_pose=or_zeros(jaw, 3),
            leye_pose=or_zeros(None, 3),
            reye_pose=or_zeros(None, 3),
            expression=or_zeros(expression, COEFFICIENTS),
            transl=or_zeros(transl, 3),
        )
        return SMPLXOutput(posed.vertices, posed.joints)


def load_smplx_body(path: str | Path, gender: Gender = "neutral") -> SMPLXBody:
    """The SMPL-X body in a .npz or .pkl file, or that of `gender` in a folder of published bodies; read only once.

    Raises DataError where the file is missing, unreadable, unsafe, or lacks what a body needs.
    """
    file = Path(path)
    if file.is_dir():
        file = find_body(file, "smplx", gender)
    if not file.is_file():
        raise DataError(f"no SMPL-X file {file}: give SMPLX_NEUTRAL.npz or the folder of published bodies it lies in")
    state = file.stat()
    return _load(file.resolve(), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=3)
def _load(path: Path, changed: int, size: int) -> SMPLXBody:
    """`changed` and `size` make a file that was replaced another entry of the cache."""
    return SMPLXBody(read_smplx_arrays(path), path.stem).eval()


def read_smplx_arrays(path: Path) -> Arrays:
    """The arrays of an SMPL-X file; of shapedirs the first ten of shape and of expression, (V, 3, 20).

    Raises DataError.
    """
    content = read_arrays_file(path)
    missing = [key for key in (*_SHAPES, "shapedirs", "f") if key not in content]
    if missing:
        raise DataError(f"{path} lacks {missing[0]!r}, which an SMPL-X body has; is it a file of another model?")
    for key, shape in _SHAPES.items():
        if content[key].shape != shape:
            raise DataError(f"{path}: {key!r} has shape {content[key].shape}, but an SMPL-X body needs {shape}")
    directions = content["shapedirs"]
    if directions.ndim != 3 or directions.shape[:2] != (SMPLX_VERTICES, 3) or directions.shape[2] < 2 * COEFFICIENTS:
        raise DataError(
            f"{path}: 'shapedirs' has shape {directions.shape}, but an SMPL-X body needs ({SMPLX_VERTICES}, 3, 20 or "
            "400), shape before expression"
        )
    first = _FIRST_EXPRESSION if directions.shape[2] >= _FIRST_EXPRESSION + COEFFICIENTS else COEFFICIENTS
    expressions = directions[..., first : first + COEFFICIENTS]
    arrays = {key: content[key] for key in (*_SHAPES, "f")}
    arrays["shapedirs"] = np.concatenate([directions[..., :COEFFICIENTS], expressions], -1)
    faces = arrays["f"]
    if faces.ndim != 2 or faces.min() < 0 or int(faces.max()) >= SMPLX_VERTICES:
        raise DataError(f"{path}: a face in 'f' names a vertex outside 0..{SMPLX_VERTICES - 1}")
    for key in ("lmk_faces_idx", "dynamic_lmk_faces_idx"):
        if arrays[key].min() < 0 or int(arrays[key].max()) >= len(faces):
            raise DataError(f"{path}: {key!r} names a face outside 0..{len(faces) - 1}")
    for key, value in arrays.items():
        if not np.isfinite(value).all():
            raise DataError(f"{path}: {key!r} holds NaN or infinity, so it is no body; get the file again")
    return arrays


def _model(arrays: Arrays) -> Any:
    """`smplx` opens files itself, pickles included: it gets a clean copy of what was read, never the user's file."""
    import smplx

    poses = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "jaw_pose", "leye_pose", "reye_pose")
    absent = ("betas", "transl", "expression", *poses)
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # it prints that 20 are few
        clean = Path(folder) / "body.npz"
        np.savez(clean, **arrays)  # type: ignore[arg-type]
        model = smplx.SMPLX(
            str(clean),
            ext="npz",
            num_betas=COEFFICIENTS,
            num_expression_coeffs=COEFFICIENTS,
            use_pca=False,
            use_face_contour=True,
            dtype=torch.float32,
            **{f"create_{name}": False for name in absent},
        )
    return model.requires_grad_(False)


def _digest(arrays: Arrays) -> str:
    total = hashlib.sha256()
    for key in sorted(arrays):
        value = np.asarray(arrays[key], np.float32 if arrays[key].dtype.kind == "f" else np.int64)
        total.update(f"{key} {value.shape} ".encode() + value.tobytes())
    return total.hexdigest()
